"""Whole programs with and without the shim: what a user would notice.

Interleaved, the median of three each, as wall time and as processor time (the program's own and of
all its children). What cannot be had here is skipped by its name. sandlock comes from the package
registry, or from the Python environment that BENCH_SANDLOCK names.
"""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time

import bench_boxsup
from loop_runs import median_ratio, rotated, say, spread

ROUNDS = 3
SANDLOCK_SANDBOXES = 20
CHURN_SANDBOXES = 1_000
LIMIT_S = 300
TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class Skipped(Exception):
    pass


def cpu_seconds():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Program:
    """A command, and what has to be done before each of its runs."""

    def __init__(self, name, command, before=None, cwd=None, follow=False):
        self.name, self.command, self.before = name, command, before
        self.cwd, self.follow = cwd, follow

    def timed(self, loops, variant, directory):
        """(wall, processor) seconds."""
        if self.before:
            subprocess.run(self.before, cwd=self.cwd, stdout=subprocess.DEVNULL, check=True)
        prefix, preload = [], variant
        if self.follow and variant == "boxledger":
            # Children get ledgers of their own: only the command can collect them.
            report = os.path.join(directory, "report")
            prefix, preload = [loops.command, "run", "--follow", f"--report={report}", "--"], "bare"
        cpu, began = cpu_seconds(), time.perf_counter()
        done = subprocess.run(
            [*prefix, *self.command],
            cwd=self.cwd or directory,
            env=dict(loops.environment(preload), TMPDIR=directory),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=LIMIT_S,
            check=False,
        )
        wall = time.perf_counter() - began
        if done.returncode != 0:
            raise Skipped(f"ends with {done.returncode}: {done.stderr[-200:]}")
        return wall, cpu_seconds() - cpu


def python_tests(loops, directory):
    for python in (sys.executable, shutil.which("python3")):
        # The interpreter itself: what stands in its place may be a script.
        real = subprocess.check_output([python, "-c", "import os, sys; print(os.path.realpath("
                                        "sys.executable))"], text=True).strip()
        found = subprocess.run([real, "-c", "import test.test_subprocess"], check=False,
                               stderr=subprocess.DEVNULL)
        if found.returncode == 0:
            case = ["test.test_subprocess"]
            if loops.smoke:
                case = ["test.test_subprocess.RunFuncTestCase.test_returncode"]
            return Program("python's test_subprocess", [real, "-m", "unittest", "-q", *case])
    raise Skipped("no Python with its test package")


def sandlock(loops, directory):
    if loops.smoke:
        raise Skipped("not in the smoke test")
    python = bench_boxsup.Sandlock.find(os.path.join(directory, "sandlock"))
    loop = os.path.join(TREE, "tests/real/sandlock_loop.py")
    name = f"{SANDLOCK_SANDBOXES} sandboxes of {bench_boxsup.SANDLOCK.replace('==', ' ')}"
    return Program(name, [python, loop, str(SANDLOCK_SANDBOXES)])


def churn(loops, directory):
    kind = "mixed" if os.access("/dev/kvm", os.R_OK | os.W_OK) else "process"
    count = 20 if loops.smoke else CHURN_SANDBOXES
    boxsup = os.path.join(loops.build, "boxsup")
    command = [boxsup, "churn", f"--kind={kind}", f"--count={count}"]
    return Program(f"boxsup churn, {count:,} {kind} sandboxes", command)


def make(loops, directory, follow=False):
    if loops.smoke:
        raise Skipped("not in the smoke test")
    for tool in ("gcc", "make"):
        if not shutil.which(tool):
            raise Skipped(f"{tool} is not installed")
    build = os.path.join(directory, "build")
    if not os.path.exists(build):
        os.mkdir(build)
        subprocess.run([os.path.join(TREE, "configure"), "-q"], cwd=build, check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    name, target = ("gcc, make -j2 of the shim", "libboxledger.la")
    if follow:
        name, target = ("gcc, make -j2 of a part, with --follow", "tests/bench/bench_unwind")
    return Program(name, ["make", "-s", "-j2", target], ["make", "-s", "clean"], build, follow)


MAKERS = {
    "python's test_subprocess": python_tests,
    "sandlock": sandlock,
    "boxsup churn": churn,
    "gcc, make": make,
    "gcc, make, with --follow": lambda *where: make(*where, follow=True),
}


def measure(loops):
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        for name, maker in MAKERS.items():
            say(f"programs: {name}")
            try:
                program = maker(loops, directory)
                times = {"bare": [], "boxledger": []}
                for number in range(1 if loops.smoke else ROUNDS):
                    for variant in rotated(times, number):
                        times[variant].append(program.timed(loops, variant, directory))
            except (Skipped, bench_boxsup.Skipped, subprocess.SubprocessError, OSError) as why:
                rows.append({"name": name, "skipped": str(why)})
                continue
            row = {"name": program.name, "rounds": len(times["bare"])}
            for index, what in enumerate(("wall", "cpu")):
                values = {key: [pair[index] for pair in pairs] for key, pairs in times.items()}
                row[f"{what}_s"] = {key: spread(value) for key, value in values.items()}
                row[f"{what}_ratio"] = median_ratio(values["boxledger"], values["bare"])
            rows.append(row)
    return rows


def table(rows):
    lines = [
        "| program | bare, s | boxledger, s | ratio | processor time, bare, s | boxledger, s"
        " | ratio |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        if "skipped" in row:
            lines.append(f"| {row['name']} | skipped: {row['skipped']} | | | | | |")
            continue
        figures = []
        for what in ("wall", "cpu"):
            times = row[f"{what}_s"]
            figures += [f"{times[key]['median']:.2f}" for key in ("bare", "boxledger")]
            figures.append(f"{row[f'{what}_ratio']:.3f}x")
        lines.append(f"| {row['name']} | " + " | ".join(figures) + " |")
    return "\n".join(lines)
