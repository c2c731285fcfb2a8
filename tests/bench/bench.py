"""Times what a program's calls cost with boxledger, beside bare and beside a shim that does nothing.

bench.py --build=DIR [--output=FILE] [--smoke] [--quick]     run, print the tables, write JSON
bench.py --markdown BENCH.json [BOXSUP.json]                the whole of doc/performance.md

--parts=PART,... runs only some of it: what a change may have touched. Each part is a file of its
own beside this one: loop_runs.py, memory.py, programs.py, peers.py, policies.py.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time

import memory
import page
import peers
import policies
import programs
from loop_runs import FEW, Loops, say, spread

ROWS = {  # row: (goal as a ratio, as the design words it)
    "mmap+munmap": (1.03, "1.03x, +100 ns"),
    "memfd_create+close": (1.02, "1.02x"),
    "dup+close": (1.12, "1.12x, +65 ns"),
    "ioctl": (1.01, "1.01x, +2 ns"),
}
TWO_THREADS = ["mmap+munmap", "dup+close"]
KVM_RUN_GOAL, RANDOM_GOAL = 1.01, 1.20
MORE_WITH_MANY, MORE_WITH_THREADS = 1.05, 0.02
OWNER_GOAL_US = 5  # begin, ten resources, end, among many others
REPORT_GOAL_MS = 100
VMAS = 65_530
# Not a goal: a figure beyond this is a mistake in the shim or in the bench.
ABSURD = 20
PARTS = ("loops", "figures", "memory", "programs", "peers", "policies")


def owner_time(loops):
    """A sandbox from begin to end with ten descriptors, among few and among many others."""
    figures = {}
    for others in (FEW, loops.many):
        arguments = [f"--owners={others}", "--fds=0", *loops.timing(), "owner"]
        times = loops.interleaved(
            ["owner"],
            ("bare", "boxledger"),
            loops.few_rounds,
            lambda variant, arguments=arguments: loops.run(variant, arguments),
        )["owner"]
        us = (statistics.median(times["boxledger"]) - statistics.median(times["bare"])) / 1000
        figures[others] = round(us, 2)
    return figures


def report_time(loops):
    """From the program's last word to the end of the command, less the same bare."""
    vmas = VMAS // 10 if loops.smoke else VMAS
    times = {"bare": [], "boxledger": []}
    with tempfile.TemporaryDirectory() as directory:
        report = os.path.join(directory, "report")
        run = [loops.command, "run", f"--report={report}", "--live", "--"]
        for _ in range(loops.few_rounds):
            for variant, prefix in (("bare", []), ("boxledger", run)):
                with subprocess.Popen(
                    [*prefix, loops.program, f"--live={vmas}", "report"],
                    env=loops.environment("bare"),
                    stdout=subprocess.PIPE,
                    text=True,
                ) as process:
                    text = process.stdout.read()
                    process.wait()
                    ended = time.monotonic_ns()
                words = dict(line.split() for line in text.splitlines())
                times[variant].append((ended - int(words["end"])) / 1e6)
    more = statistics.median(times["boxledger"]) - statistics.median(times["bare"])
    return {
        "mappings": int(words["left"]),
        "bare_ms": spread(times["bare"]),
        "boxledger_ms": spread(times["boxledger"]),
        "ms": round(more, 1),
        "goal_ms": REPORT_GOAL_MS,
    }


def machine():
    model = "unknown"
    with open("/proc/cpuinfo", encoding="ascii") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "libc": " ".join(platform.libc_ver()),
        "load": round(os.getloadavg()[0], 2),
        "date": time.strftime("%Y-%m-%d"),
    }


def judge(rows):
    """Puts beside each row its goal and whether it was reached."""
    few = {row["name"]: row["ratio"] for row in rows if (row["live"], row["threads"]) == (FEW, 1)}
    for row in rows:
        name = row["name"]
        if name == "random-remap":
            row["goal"], text = RANDOM_GOAL, f"{RANDOM_GOAL:.2f}x"
        elif name == "kvm-run":
            row["goal"], text = KVM_RUN_GOAL, f"{KVM_RUN_GOAL:.2f}x"
        elif row["threads"] > 1:
            row["goal"] = few[name] + MORE_WITH_THREADS
            text = f"{few[name]:.3f}x + {MORE_WITH_THREADS}"
        elif row["live"] != FEW:
            row["goal"] = few[name] * MORE_WITH_MANY
            text = f"{MORE_WITH_MANY} * {few[name]:.3f}x"
        else:
            row["goal"], text = ROWS[name]
        row["goal_text"] = text
        row["goal"] = round(row["goal"], 4)
        row["met"] = row["ratio"] <= row["goal"]


def time_loops(loops, kvm):
    say("loops")
    rows = loops.compare(list(ROWS), FEW)
    if kvm:
        rows += loops.compare(["kvm-run"], FEW)
    say("loops, 2 threads")
    rows += loops.compare(TWO_THREADS, FEW, threads=2)
    say(f"loops, {loops.many:,} records")
    rows += loops.compare([*ROWS, "random-remap"], loops.many, rounds=loops.few_rounds)
    judge(rows)
    return rows


def measure(options):
    loops = Loops(options)
    kvm = os.access("/dev/kvm", os.R_OK | os.W_OK)
    result = {
        "boxledger_bench": 2,
        "machine": machine(),
        "rounds": loops.rounds,
        "few_rounds": loops.few_rounds,
        "kvm": kvm,
    }
    began = time.monotonic()
    if "loops" in options.parts:
        result["rows"] = time_loops(loops, kvm)
    if "figures" in options.parts:
        say("sandboxes, and a report")
        result["owners_us"] = owner_time(loops)
        result["owner_goal_us"] = OWNER_GOAL_US
        result["report"] = report_time(loops)
    if "memory" in options.parts:
        result["memory"] = memory.measure(loops)
    if "programs" in options.parts:
        result["programs"] = programs.measure(loops)
    if "peers" in options.parts:
        result["peers"] = peers.measure(loops, list(ROWS), kvm)
    if "policies" in options.parts:
        result["policies"] = policies.measure(loops, list(ROWS), kvm)
    result["seconds"] = round(time.monotonic() - began)
    say(f"measured in {result['seconds']} s")
    return result


def absurdities(result):
    """What no machine, however slow, can be the reason of."""
    if "memory" in result and result["memory"]["mapping_bytes"] < 32:
        yield "the ledger did not grow: the shim recorded nothing"
    for row in [*result.get("rows", []), *result.get("policies", [])]:
        if row["ratio"] > ABSURD:
            yield f"{row['name']} costs {row['ratio']} times bare"


def read(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", default="build")
    parser.add_argument("--output")
    parser.add_argument("--smoke", action="store_true", help="does it run at all")
    parser.add_argument("--quick", action="store_true", help="a third of the rounds")
    parser.add_argument("--parts", type=lambda text: text.split(","), default=PARTS)
    parser.add_argument("--markdown", nargs="+", metavar="JSON")
    options = parser.parse_args()
    if options.markdown:
        print(page.whole(*map(read, options.markdown)), end="")
        return
    if not set(options.parts) <= set(PARTS):
        parser.error(f"the parts are {', '.join(PARTS)}")
    result = measure(options)
    print(page.tables(result))
    if options.output:
        with open(options.output, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=1)
            file.write("\n")
    wrong = list(absurdities(result))
    if wrong:
        sys.exit("bench: " + "; ".join(wrong))


if __name__ == "__main__":
    main()
