"""What the policies cost: each loop under boxledger with all of them on, beside all of them off.

The goal is the table of the loops with every policy on within 1.10 times itself with all off: loops
of the supervisor's own. The rows `in a scope` have none: there each thing is a sandbox's, and the
policies have to take care of it.
"""

import statistics

from loop_runs import FEW, median_ratio, say, spread

ON = (
    "reclaim=1:rescue=1:placement=1:limit_vmas=60000:limit_bytes=1000000000000:limit_fds=500:"
    "reserve_vmas=16:reserve_fds=4"
)
GOAL = 1.10
VARIANTS = {"off": None, "on": ON}
ROUNDS, ROUNDS_MANY = 15, 3


def measure(loops, names, kvm):
    """The rows, with `names` of the loops and, where it can be had, KVM."""
    names = [*names, "mmap-anywhere"]
    few, many = f"--live={FEW}", f"--live={loops.many}"
    runs = [
        ("", names, [few], ROUNDS),
        ("2 threads", ["mmap+munmap", "dup+close"], [few, "--threads=2"], ROUNDS),
        ("in a scope", names, [few, "--scope=1"], ROUNDS),
        (f"{loops.many:,} live", [*names, "random-remap"], [many], ROUNDS_MANY),
        ("", ["owner"], [f"--owners={FEW}", "--fds=0"], ROUNDS),
    ]
    if kvm:
        runs.append(("", ["kvm-run"], [few], ROUNDS))
    rows = []
    for what, of, arguments, rounds in runs:
        say(f"policies: {', '.join(of)} {what}")
        figures = loops.interleaved(
            of,
            VARIANTS,
            min(loops.rounds, rounds),
            lambda variant, of=of, arguments=arguments: loops.run(
                "boxledger",
                [*arguments, *loops.timing(), *of],
                boxledger_options=VARIANTS[variant],
            ),
        )
        for name, times in figures.items():
            row = {"name": name, "what": what}
            row.update({variant: spread(values) for variant, values in times.items()})
            row["ratio"] = median_ratio(times["on"], times["off"])
            row["goal"] = None if "scope" in what else GOAL
            row["met"] = row["goal"] is None or row["ratio"] <= row["goal"]
            rows.append(row)
    return rows


def table(rows):
    lines = [
        "| loop | | off, ns | on, ns | ratio | goal | |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        judged = ""
        if row["goal"] is not None:
            judged = f"{row['goal']:.2f}x | {'met' if row['met'] else 'missed'}"
        lines.append(
            f"| {row['name']} | {row['what']} | {row['off']['median']:,.0f}"
            f" | {row['on']['median']:,.0f} | {row['ratio']:.3f}x | {judged or ' | '} |"
        )
    return "\n".join(lines)


def worst(rows):
    """The highest ratio that has a goal."""
    return max((row for row in rows if row["goal"] is not None), key=lambda row: row["ratio"])


def scope_median(rows):
    return statistics.median(row["ratio"] for row in rows if "scope" in row["what"])
