"""What the ledger costs in memory: resident bytes that a record, a stack, a thread and an owner add.

Each is the difference between many and few of them under boxledger, less the same bare. Tables grow
in steps; where both ends of a difference can be put at the end of a step, they are.
"""

import os
import resource

from loop_runs import FEW, say

# src/ledger/format.h: what one step of the ledger holds, and what its start does.
FDS_IN_BASE, FDS_IN_STEP = 1_024, 65_536
STACKS_FEW, STACKS_MANY = 1_000, 201_000
THREADS_FEW, THREADS_MANY = 10, 1_010
STACKS_OF_A_BUSY_THREAD = 1_000
OWNERS_FEW = 10_000
SPARE_FDS = 128  # that loops and whatever started it hold


def most_fds():
    """As many as this process, or root, may have open."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if os.geteuid() == 0:
        with open("/proc/sys/fs/nr_open", encoding="ascii") as file:
            hard = int(file.read())
    return hard


def measure(loops):
    def extra(**what):
        """Bytes by which the program is larger under boxledger, holding all this."""
        what = {"live": 0, "fds": 0, **what}
        arguments = [f"--{key}={value}" for key, value in what.items()]
        resident = {
            variant: loops.run(variant, [*arguments, "memory"])["resident_kib"][0]
            for variant in ("bare", "boxledger")
        }
        return (resident["boxledger"] - resident["bare"]) * 1024

    def each(key, few, many, **what):
        return round((extra(**{key: many}, **what) - extra(**{key: few}, **what)) / (many - few), 1)

    say("memory")
    smoke = loops.smoke
    fds = [FDS_IN_BASE + steps * FDS_IN_STEP - SPARE_FDS for steps in (1, 7)]
    if smoke or fds[1] + SPARE_FDS > most_fds():
        fds = [FEW, min(16_000, most_fds() - SPARE_FDS)]
    stacks = [STACKS_FEW, 21_000 if smoke else STACKS_MANY]
    threads = [THREADS_FEW, 110 if smoke else THREADS_MANY]
    return {
        "empty_kib": round(extra() / 1024),
        "mapping_bytes": each("live", FEW, loops.many),
        "fd_bytes": each("fds", *fds),
        "fds": fds[1],
        "whole_steps": fds[0] > FEW,
        "stack_bytes": each("stacks", *stacks),
        "thread_bytes": each("sleepers", *threads),
        "busy_thread_bytes": each("sleepers", *threads, stacks=STACKS_OF_A_BUSY_THREAD),
        "owner_bytes": each("owners", OWNERS_FEW, 50_000 if smoke else loops.many),
    }


GOALS = {"mapping_bytes": 128, "fd_bytes": 32}
SLACK_BYTES = 0.5  # of resident pages per record: what is rounded


def table(memory):
    busy = f"a thread that called from {STACKS_OF_A_BUSY_THREAD:,} stacks that others had"
    names = {
        "mapping_bytes": "a mapping",
        "fd_bytes": "a descriptor",
        "stack_bytes": "a stack, 14 frames deep",
        "owner_bytes": "an owner",
        "thread_bytes": "a thread",
        "busy_thread_bytes": busy,
    }
    lines = ["| memory of | bytes | goal | |", "| --- | --- | --- | --- |"]
    for key, name in names.items():
        judged = " | "
        if key in GOALS:
            judged = f"{GOALS[key]} | {'met' if met(memory, key) else 'missed'}"
        lines.append(f"| {name} | {max(memory[key], 0):,.1f} | {judged} |")
    lines.append(f"| an empty ledger and the shim | {memory['empty_kib'] * 1024:,} | | |")
    return "\n".join(lines)


def met(memory, key):
    return memory[key] <= GOALS[key] + SLACK_BYTES
