"""Compares what a driver of hyperlight-host left mapped, by its own count, with the report on it.

Usage: hyperlight_verdict.py VERSION COUNTED REPORT FILE
"""

import json
import sys

# What maps FILE, in all releases, and what a complete stack of a main thread ends in.
MAPS = "map_file_cow"
OUTERMOST = "_start"

# Where a mapping is taken from its VM: the VM's descriptor closes, or its slot is deleted.
UNBINDS = {"drop": ["VmFd", "main"], "restore": ["set_user_memory_region", "restore", "main"]}


def functions(stack):
    return [frame["function"] or "" for frame in stack]


def through(entries, name):
    """Those of the entries that were taken in a function of this name."""
    return [e for e in entries if name in functions(e["stack"])]


def expect(what, found, expected):
    assert found == expected, f"{what}: expected {expected!r}, found {found!r}"


def main():
    version, counted, report, file = sys.argv[1:]
    with open(counted) as f:
        counted = json.load(f)
    with open(report) as f:
        report = json.load(f)
    mode, count = counted["mode"], counted["count"]
    left = 0 if mode == "unmap" else count
    sandboxes, ended = (1, 0) if mode == "restore" else (count, count)
    assert count > 0
    expect(f"hyperlight-host {version}, {mode}: mapped by its own count", counted["mapped"], left)

    totals = report["totals"]
    expect("incomplete", totals["incomplete"], False)
    expect("verified", report["process"]["verified"], True)
    expect("descriptors that nobody saw taken", totals["unseen_fds"], 0)
    expect("owners begun", totals["owners_begun"], sandboxes)
    expect("owners ended", totals["owners_ended"], ended)
    expect("leaked mappings", totals["leaked_mappings"], left)
    expect("leaked descriptors", totals["leaked_fds"], 0)

    owners = report["owners"]
    expect("kinds of owners", [o["kind"] for o in owners], ["kvm"] * sandboxes)
    state = "live" if mode == "restore" else "ended"
    expect("states of owners", {o["state"] for o in owners}, {state})

    # What is held is listed whether or not it is somebody's fault.
    held = through(report["live"], MAPS)
    expect(f"mappings held through {MAPS}", sum(entry["count"] for entry in held), left)

    findings = report["findings"]
    expect("findings", len(findings), 1 if left else 0)
    for finding in findings:
        told = {
            "verdict": "leaked",
            "resource": "mapping",
            "count": left,
            "owner_kind": "kvm",
            "owners": sandboxes,
            "released_by": [],
            "names": [file],
            "verified": True,
        }
        expect("the finding", {key: finding[key] for key in told}, told)
        stack = functions(finding["stack"])
        assert MAPS in stack, f"{MAPS} is not in {stack}"
        assert "main" in stack and stack[-1] == OUTERMOST, f"a stack cut short: {stack}"
        unbound = functions(finding["unbound_by"])
        for name in UNBINDS[mode]:
            assert any(name in function for function in unbound), f"{name} is not in {unbound}"
        assert unbound[-1] == OUTERMOST, f"a stack cut short: {unbound}"
    print(
        f"hyperlight-host {version}, {mode}: {sandboxes} sandboxes, {count} files mapped,"
        f" {left} left mapped; {sum(f['count'] for f in findings)} reported through {MAPS}"
    )


if __name__ == "__main__":
    main()
