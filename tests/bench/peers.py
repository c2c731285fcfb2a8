"""The tools in use today on the same loops, in the same runs as the bare program and boxledger.

Slow ones make fewer turns in as much time. What is not installed, or cannot run here, is named.
"""

import shutil
import statistics
import subprocess

from loop_runs import figures_of, say

LIVE = 100  # held before the loops start, one slow call each
LIMIT_S = 60
OWN_ROUNDS = 3  # of bare and boxledger, around each tool
BLIND = "sees none of these calls"
PROGRAMS = {  # name: what stands before the program's command
    "strace": ["strace", "-f", "-o", "/dev/null"],
    "strace -k": ["strace", "-f", "-k", "-o", "/dev/null"],
    "ltrace": ["ltrace", "-f", "-o", "/dev/null"],
    "valgrind --track-fds": ["valgrind", "-q", "--track-fds=yes"],
    "heaptrack": ["heaptrack", "-o", "/dev/null"],
    "bpftrace": None,
}
NOTES = {
    "strace": "no stacks",
    "ltrace": "no stacks",
    "valgrind --track-fds": "no mappings",
    "heaptrack": BLIND,
    "bpftrace": "stacks by frame pointers only; counts, keeps no ledger",
}
SYSTEM_CALLS = ("mmap", "munmap", "memfd_create", "dup", "close", "ioctl")
# Its tracepoints are files of a file system that is not mounted everywhere: here it is, where
# nobody else sees it.
MOUNTED = (
    "mount -t tracefs none /sys/kernel/tracing; mount -t debugfs none /sys/kernel/debug;"
    ' exec "$@"'
)


class CannotRun(Exception):
    pass


def bpftrace(loops, arguments):
    """User stacks, by frame pointers, of the same calls."""
    script = " ".join(
        f"tracepoint:syscalls:sys_enter_{call} /pid == cpid/ {{ @[ustack(14)] = count(); }}"
        for call in SYSTEM_CALLS
    )
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", MOUNTED, "sh"]
        + ["bpftrace", "-q", "-e", script, "-c", f"{loops.program} {' '.join(arguments)}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        timeout=LIMIT_S,
        check=False,
        env=loops.environment("bare"),
    )
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if "ERROR: " in line]
        raise CannotRun((said or ["no output"])[-1].split("ERROR: ", 1)[-1])
    return figures_of(done.stdout)


def one_run(loops, name, arguments):
    if PROGRAMS[name] is None:
        return bpftrace(loops, arguments)
    return loops.run("bare", arguments, prefix=PROGRAMS[name], timeout=LIMIT_S)


def under(loops, name, names, arguments):
    """Row -> ns under one tool; a row of its own that it cannot run is left out."""
    figures = {}
    for group in (names[:-1], names[-1:]) if names[-1] == "kvm-run" else (names,):
        try:
            result = one_run(loops, name, [*arguments, *group])
            figures.update({row: result[row] for row in group if row in result})
        except (RuntimeError, CannotRun, subprocess.TimeoutExpired) as error:
            if group[-1] != "kvm-run":
                raise CannotRun(f"did not run: {error}") from error
    return figures


def measure(loops, names, kvm):
    names = [*names, "random-remap", *(["kvm-run"] if kvm else [])]
    arguments = [f"--live={LIVE}", "--fds=0", f"--ms={loops.ms}", "--rounds=1"]
    ours = {name: {"bare": [], "boxledger": []} for name in names}
    rows = []
    for name in PROGRAMS:
        say(f"beside {name}")
        for _ in range(1 if loops.smoke else OWN_ROUNDS):
            for variant in ("bare", "boxledger"):
                result = loops.run(variant, [*arguments, *names])
                for loop in names:
                    ours[loop][variant].append(result[loop][0])
        row = {"name": name}
        rows.append(row)
        if not shutil.which(name.split()[0]):
            row["skipped"] = "not installed"
            continue
        try:
            row["ns"] = {
                loop: statistics.median(values)
                for loop, values in under(loops, name, names, arguments).items()
            }
        except CannotRun as why:
            row["skipped"] = str(why)
    medians = {
        loop: {variant: statistics.median(values) for variant, values in of.items()}
        for loop, of in ours.items()
    }
    for row in rows:
        row["ratio"] = {
            loop: round(ns / medians[loop]["bare"], 2) for loop, ns in row.get("ns", {}).items()
        }
        row["factor"] = {
            loop: round(ns / medians[loop]["boxledger"], 2)
            for loop, ns in row.get("ns", {}).items()
        }
    boxledger = {loop: round(of["boxledger"] / of["bare"], 3) for loop, of in medians.items()}
    return {"names": names, "boxledger": boxledger, "tools": rows}


def cells(names, figures, text):
    return " | ".join(text(figures[name]) if name in figures else "-" for name in names)


def table(peers):
    names = peers["names"]
    head = "| tool | " + " | ".join(names) + " | |"
    lines = [head, "| --- " * (len(names) + 2) + "|"]
    lines.append(
        "| **boxledger** | " + cells(names, peers["boxledger"], lambda x: f"{x:.2f}x") + " | |"
    )

    for tool in peers["tools"]:
        if "skipped" in tool:
            lines.append(f"| {tool['name']} | {'| ' * len(names)}{tool['skipped']} |")
            continue
        both = {
            loop: (ratio, tool["factor"][loop]) for loop, ratio in tool["ratio"].items()
        }
        lines.append(
            f"| {tool['name']} | " + cells(names, both, lambda x: f"{x[0]:,.1f}x ({x[1]:,.1f})")
            + f" | {NOTES.get(tool['name'], '')} |"
        )
    return "\n".join(lines)


def behind(peers):
    """(tool, loop, factor) wherever a tool that sees something of a call was faster than we."""
    return [
        (tool["name"], loop, factor)
        for tool in peers["tools"]
        if NOTES.get(tool["name"]) != BLIND
        for loop, factor in tool["factor"].items()
        if factor < 1
    ]


def nearest(peers):
    """(tool, loop, factor) of the nearest to us among those that see something."""
    return min(
        (
            (tool["name"], loop, factor)
            for tool in peers["tools"]
            if NOTES.get(tool["name"]) != BLIND
            for loop, factor in tool["factor"].items()
        ),
        key=lambda found: found[2],
        default=None,
    )
