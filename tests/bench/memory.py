"""What the ledger costs in memory: resident bytes that a record, a stack, a thread and an owner add.

Each is the difference between many and few of them under boxledger, less the same bare. Tables grow
in steps: many are so many that a step no longer shows.
"""

import statistics

from loop_runs import FEW, say

FDS_FEW, FDS_MANY = 1_000, 400_000
STACKS_FEW, STACKS_MANY = 1_000, 201_000
THREADS_FEW, THREADS_MANY = 10, 1_010
STACKS_OF_A_BUSY_THREAD = 1_000
OWNERS_FEW = 10_000
REPEATS = 3


def measure(loops):
    say("memory")
    smoke = loops.smoke

    def extra(**what):
        """(bytes by which the program is larger under boxledger, descriptors), holding all this."""
        what = {"live": 0, "fds": 0, **what}
        arguments = [f"--{key}={value}" for key, value in what.items()]
        # A few pages more or less show where there are few records: no million, that is.
        repeats = 1 if smoke or loops.many in what.values() else REPEATS
        more = []
        for _ in range(repeats):
            bare, ours = (
                loops.run(variant, [*arguments, "memory"]) for variant in ("bare", "boxledger")
            )
            more.append((ours["resident_kib"][0] - bare["resident_kib"][0]) * 1024)
        return statistics.median(more), int(ours["held_fds"][0])

    def each(key, few, many, **what):
        more = extra(**{key: many}, **what)[0] - extra(**{key: few}, **what)[0]
        return round(more / (many - few), 1)

    def each_fd(few, many):
        """As many of them as may be had, which is known only when they are."""
        (small, of_small), (large, of_large) = extra(fds=few), extra(fds=many)
        return round((large - small) / (of_large - of_small), 1), of_large

    fd_bytes, held = each_fd(FDS_FEW, FDS_MANY)
    stacks = [STACKS_FEW, 21_000 if smoke else STACKS_MANY]
    threads = [THREADS_FEW, 110 if smoke else THREADS_MANY]
    return {
        "empty_kib": round(extra()[0] / 1024),
        "mapping_bytes": each("live", FEW, loops.many),
        "fd_bytes": fd_bytes,
        "fds": held,
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
        lines.append(f"| {name} | {max(memory[key], 0):,.0f} | {judged} |")
    lines.append(f"| an empty ledger, with the shim's own | {memory['empty_kib'] * 1024:,} | | |")
    return "\n".join(lines)


def met(memory, key):
    return memory[key] <= GOALS[key] + SLACK_BYTES
