#!/usr/bin/env python3
"""Counts the instructions that the shim adds to a turn of each of the bench's loops.

instructions.py --build=DIR            compares with instructions.json, fails on growth of over 5%
instructions.py --build=DIR --update   writes what it counted there

Timings drown in noise where instructions do not: callgrind counts the same each time. They are
those of one compiler; where another built the shim, the test is skipped. No system call's own time
is in them, nor what an instruction costs.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys

ROWS = ["dup+close", "memfd_create+close", "mmap+munmap", "ioctl", "random-remap"]
FEW, MANY = 500, 2500  # turns: what is before and after the loop falls out of the difference
GROWTH = 1.05
FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "instructions.json")


def skip(why):
    print(f"skip: {why}")
    sys.exit(77)


def collected(build, preload, row, turns):
    """Instructions of one run."""
    # The command that valgrind itself starts from would be taken for the supervised process.
    command = ["valgrind", "--trace-children=yes", "--tool=callgrind"]
    command += ["--callgrind-out-file=/dev/null", "env"]
    command += [f"LD_PRELOAD={preload}"] if preload else []
    command += [os.path.join(build, "tests/bench/loops"), "--live=100", "--rounds=1"]
    environment = {
        key: value
        for key, value in os.environ.items()
        if key not in ("LD_PRELOAD", "BOXLEDGER_OPTIONS")
    }
    done = subprocess.run(
        [*command, f"--turns={turns}", row],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=300,
        check=True,
    )
    found = re.findall(r"Collected : (\d+)", done.stderr)
    if not found:
        sys.exit(f"instructions: callgrind says nothing: {done.stderr[-500:]}")
    return int(found[-1])


def per_turn(build, preload, row):
    counts = [collected(build, preload, row, turns) for turns in (FEW, MANY)]
    return (counts[1] - counts[0]) / (MANY - FEW)


def compiler(shim):
    """As the compiler says it in the object itself."""
    done = subprocess.run(
        ["readelf", "-p", ".comment", shim], stdout=subprocess.PIPE, text=True, check=True
    )
    found = re.findall(r"(GCC: \(.*?\) [\d.]+|clang version [\d.]+)", done.stdout)
    return sorted(set(found))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", default=os.environ.get("BOXLEDGER_BUILD", "build"))
    parser.add_argument("--update", action="store_true")
    options = parser.parse_args()
    build = os.path.abspath(options.build)
    shim = os.path.join(build, "libboxledger.so")
    for tool in ("valgrind", "readelf"):
        if not shutil.which(tool):
            skip(f"{tool} is not installed")
    if os.uname().machine != "x86_64":
        skip("the counts are of x86-64")
    before = {}
    if not options.update:
        with open(FILE) as f:
            before = json.load(f)
        if before["compiler"] != compiler(shim):
            skip(f"built by {compiler(shim)}, counted with {before['compiler']}")
    counts = {}
    for row in ROWS:
        bare, shimmed = (per_turn(build, preload, row) for preload in (None, shim))
        counts[row] = round(shimmed - bare)
    if options.update:
        with open(FILE, "w") as f:
            json.dump({"compiler": compiler(shim), "more": counts}, f, indent=1)
            f.write("\n")
    grown = []
    for row, count in counts.items():
        was = before.get("more", counts)[row]
        print(f"{row}: {count} instructions more than bare, {was} before")
        # A row of a dozen grows by one without anybody's fault.
        if count > was * GROWTH + 2:
            grown.append(row)
    if grown:
        sys.exit(f"instructions: grown by more than 5%: {', '.join(grown)}")


if __name__ == "__main__":
    main()
