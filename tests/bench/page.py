"""doc/performance.md, the whole of it, from what the benches wrote as JSON. It measures nothing.

What is written by hand about these figures is in doc/where-the-time-goes.md; the page links to it.
"""

import os
import textwrap

import bench_boxsup
import memory
import peers
import policies
import programs
from loop_runs import FEW

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BY_HAND = "where-the-time-goes.md"
NOTICED = 0.01  # of one processor
WIDTH = 100
# doc/ledger-format.md: all that a ledger can hold.
MAPPINGS_MAX, LEDGER_MAX_GIB = 16_000_000, 4
VMAS_MAX, FDS_USUAL = 65_530, 1_024  # what the kernel allows a process


def paragraph(text):
    """Its lines as long as those that are written by hand."""
    return textwrap.fill(
        " ".join(text.split()), WIDTH, break_long_words=False, break_on_hyphens=False
    )


def ns(figure):
    return f"{figure['median']:,.0f} [{figure['q1']:,.0f}..{figure['q3']:,.0f}]"


def verdict(met):
    return "met" if met else "missed"


def loop_table(rows):
    lines = [
        "| loop | live records | threads | bare, ns | nothing | boxledger, ns | ratio | more, ns"
        " | goal | |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        lines.append(
            f"| {row['name']} | {row['live']:,} | {row['threads']} | {ns(row['bare'])}"
            f" | {row['nothing_ratio']:.3f}x | {ns(row['boxledger'])} | {row['ratio']:.3f}x"
            f" | {row['extra_ns']:+.0f} | {row['goal_text']} | {verdict(row['met'])} |"
        )
    return "\n".join(lines)


def figures(result):
    """(what, figure, goal, met) of all that is no ratio."""
    found = []
    goal = result["owner_goal_us"]
    for others, us in result["owners_us"].items():
        what = f"a sandbox with 10 descriptors, among {int(others):,}"
        found.append((what, f"{us:g} us", f"{goal} us", us <= goal))
    report = result["report"]
    what = f"report of {report['mappings']:,} mappings left behind"
    goal = report["goal_ms"]
    found.append((what, f"{report['ms']:g} ms", f"{goal} ms", report["ms"] <= goal))
    return found


def figure_table(result):
    lines = ["| what | figure | goal | |", "| --- | --- | --- | --- |"]
    lines += [f"| {a} | {b} | {c} | {verdict(met)} |" for a, b, c, met in figures(result)]
    return "\n".join(lines)


def tables(result):
    """Whatever was measured, as `make bench` prints it."""
    parts = []
    if "rows" in result:
        parts.append(loop_table(result["rows"]))
    if "report" in result:
        parts.append(figure_table(result))
    if "memory" in result:
        parts.append(memory.table(result["memory"]))
    if "programs" in result:
        parts.append(programs.table(result["programs"]))
    if "peers" in result:
        parts.append(peers.table(result["peers"]))
    if "policies" in result:
        parts.append(policies.table(result["policies"]))
    return "\n\n".join(parts)


def missed(result):
    """(what, figure, goal) of each goal that was not reached."""
    found = []
    for row in result["rows"]:
        if not row["met"]:
            what = f"{row['name']}, {row['live']:,} records"
            what += f", {row['threads']} threads" if row["threads"] > 1 else ""
            found.append((what, f"{row['ratio']:.3f}x, {row['extra_ns']:+.0f} ns", row["goal_text"]))
    found += [(what, figure, goal) for what, figure, goal, met in figures(result) if not met]
    for key, goal in memory.GOALS.items():
        if not memory.met(result["memory"], key):
            figure = f"{result['memory'][key]:g} bytes"
            found.append((f"memory: {key.removesuffix('_bytes')}", figure, f"{goal} bytes"))
    for row in result["policies"]:
        if not row["met"]:
            what = f"policies on: {row['name']}{', ' * bool(row['what'])}{row['what']}"
            found.append((what, f"{row['ratio']:.3f}x", f"{row['goal']:.2f}x"))
    return found


def missed_section(result):
    found = missed(result)
    if not found:
        return "All goals were reached."
    lines = ["| goal missed | figure | goal |", "| --- | --- | --- |"]
    lines += [f"| {what} | {figure} | {goal} |" for what, figure, goal in found]
    if os.path.exists(os.path.join(TREE, "doc", BY_HAND)):
        lines += ["", f"Where the time goes, and what was tried: [{BY_HAND}]({BY_HAND})."]
    return "\n".join(lines)


def per_second(extra_ns):
    """How many calls a second make so much of one processor; None: the figure is noise."""
    return NOTICED / (extra_ns / 1e9) if extra_ns > 1 else None


def noticed(result):
    """Where a user would notice us, as sentences."""
    rows = {r["name"]: r for r in result["rows"] if (r["live"], r["threads"]) == (FEW, 1)}
    lines = []
    for name, row in rows.items():
        rate = per_second(row["extra_ns"])
        if rate is None:
            lines.append(f"- `{name}`: nothing that could be measured.")
        else:
            lines.append(
                f"- `{name}` costs {row['extra_ns']:.0f} ns more: {NOTICED:.0%} of a processor where"
                f" it is done {rate:,.0f} times a second."
            )
    for row in result["programs"]:
        if "skipped" not in row:
            lines.append(f"- {row['name']}: {row['wall_ratio'] - 1:+.1%} time,"
                         f" {row['cpu_ratio'] - 1:+.1%} processor time.")
    return "\n".join(lines)


def limits(result):
    """Where the limit lies."""
    m = result["memory"]
    many = [r for r in result["rows"] if r["live"] > FEW]
    worst = max(many, key=lambda row: row["ratio"])
    scope = policies.scope_median(result["policies"])
    full = VMAS_MAX * m["mapping_bytes"] / (1 << 20)
    report = result["report"]
    return paragraph(f"""The kernel's limits come first. A process may have {VMAS_MAX:,} VMAs, whose records take {full:.1f} MiB
and whose report takes {report['ms']:g} ms more than the program's own exit; it usually may have {FDS_USUAL:,} descriptors,
whose records are there from the start. Mappings that the kernel merges are records all the same: of
{many[0]['live']:,} at once the ledger takes {many[0]['live'] * m['mapping_bytes'] / (1 << 20):,.0f} MiB, and the slowest loop then is
{worst['name']}, {worst['ratio']:.2f} times bare. A ledger ends at {LEDGER_MAX_GIB} GiB, some {MAPPINGS_MAX:,} mappings: what does not
fit is counted, and the report says `incomplete`. Sandboxes that have ended and left nothing take no
room, however many they were (tests/size). What a sandbox takes in a scope of its own with all
policies on costs more: in the median of the loops {scope:.2f} times what it costs with them off.""")


def peers_text(result):
    behind = peers.behind(result["peers"])
    nearest = peers.nearest(result["peers"])
    if nearest is None:
        return "None of them could be run here."
    if behind:
        lost = ", ".join(f"{tool} on {loop} ({factor:.2f})" for tool, loop, factor in behind)
        return paragraph(f"boxledger is ahead on every row but these: {lost}.")
    tool, loop, factor = nearest
    return paragraph(
        f"boxledger is ahead of each that sees any of these calls, on every row: nearest is {tool} on"
        f" {loop}, which takes {factor:.2f} times our time."
    )


def memory_text(m):
    return paragraph(f"""Resident bytes that one more of each adds to the process, beyond what it adds
bare. Descriptors: of {m['fds']:,}. The stacks that threads call from are remembered once for all threads.
An owner's record is used again once the owner has ended and nothing names it.""")


def programs_text():
    return paragraph(f"""Each as it is, and under the shim with no option; the median of
{programs.ROUNDS} runs each, interleaved. A ratio is the median of those of neighbouring runs. Processor time is
that of the program and its children. The children of a watched program are not watched themselves;
with `run --follow`, in the last row, each compiler, shell and linker is: it has a ledger of its own,
and is reported on.""")


def whole(result, boxsup=None):
    m = result["machine"]
    text = f"""# What boxledger costs

Made by `make bench` and `tests/bench/bench.py --markdown`; not edited by hand. Machine: {m['cpu']},
{m['cores']} cores, Linux {m['kernel']}, {m['libc']}, load {m['load']} at the start, {m['date']}.
All of it was measured in one run of {result['seconds']} s; boxsup's part says its own.

## Loops

Every figure is a program's own timing of a loop, at a call depth of 14, with a full stack recorded
for each call. *bare* is the program alone, *nothing* the same under a preload whose wrappers only
call the next definition, *boxledger* under `LD_PRELOAD=libboxledger.so`. The runs are interleaved;
a figure is the median of {result['rounds']} runs ({result['few_rounds']} with more than {FEW:,} records), in brackets the
quartiles, and a ratio is the median of those of neighbouring runs. The loop's hole in the address
space has neighbours that the kernel cannot merge with, so that all variants do the same work.

{loop_table(result['rows'])}

{figure_table(result)}

## Memory

{memory_text(result['memory'])}

{memory.table(result['memory'])}

## Whole programs

{programs_text()}

{programs.table(result['programs'])}

## Beside other tools

The same loops among {peers.LIVE} live mappings, in the same run: times bare and, in brackets, times
boxledger's own time. The slow ones make fewer turns in as much time.

{peers.table(result['peers'])}

{peers_text(result)}

## Policies

The same loops with all policies on (reclaim, rescue, placement, limits far away) beside all of them
off. *In a scope*: what is taken is a sandbox's, which reclaim and limits ask more of; no goal was
set there. *owner*: a sandbox that is given ten descriptors and ends.

{policies.table(result['policies'])}
"""
    if boxsup:
        text += "\n" + bench_boxsup.section(boxsup)
    text += f"""
## Goals missed

{missed_section(result)}

## Where it is noticed, and where the limit lies

{noticed(result)}

{limits(result)}
"""
    return text
