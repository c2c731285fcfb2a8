"""Compares what a loop of sandlock held at its end, by its own count, with the report on it.

Usage: sandlock_verdict.py VERSION COUNTED REPORT leaks|clean
"""

import json
import sys

# What issues SECCOMP_IOCTL_NOTIF_ADDFD in 0.4.x.
INJECTS = "sandlock_core::seccomp::notif::send_response"


def main():
    version, counted, report, expected = sys.argv[1:]
    with open(counted) as f:
        counted = json.load(f)
    with open(report) as f:
        report = json.load(f)

    memfds = {}  # name -> how many are still held
    for name, count in counted["left"].items():
        if name.startswith("/memfd:"):
            memfds[name] = count
    assert bool(memfds) == (expected == "leaks"), f"sandlock {version} itself: {counted['left']}"

    sandboxes = counted["sandboxes"]
    totals = report["totals"]
    assert totals["owners_begun"] == totals["owners_ended"] == sandboxes, totals

    # Each kind of injected file is one finding, of all sandboxes alike, and nothing else is one.
    findings = report["findings"]
    by_name = {"/" + f["what"] + " (deleted)": f for f in findings}
    assert sorted(by_name) == sorted(memfds), f"findings: {json.dumps(findings, indent=1)}"
    for name, count in memfds.items():
        f = by_name[name]
        got = (f["verdict"], f["resource"], f["owner_kind"], f["verified"], f["released_by"])
        assert got == ("leaked", "fd", "seccomp", True, []), f"{name}: {got}"
        assert f["count"] == count, f"{count} of {name} are held, {f['count']} reported"
        assert f["owners"] == sandboxes, f"{name}: {f['owners']} of {sandboxes} sandboxes"
        assert f["per_sandbox"] == count / sandboxes, f"{name}: {f['per_sandbox']} per sandbox"

    told = [f for f in findings + report["live"] if f["resource"] == "fd"]
    injected = [
        f for f in findings if any(INJECTS in (frame["function"] or "") for frame in f["stack"])
    ]
    total = sum(f["count"] for f in injected)
    assert total == sum(memfds.values()), (
        f"{sum(memfds.values())} memfds are held, {total} reported through {INJECTS}:\n"
        + json.dumps(told, indent=1)
    )
    for f in injected:
        assert "memfd" in f["what"], f"not called a memfd: {f['what']}"
        functions = [frame["function"] or "" for frame in f["stack"]]
        assert any("thread_start" in name for name in functions), f"a stack cut short: {functions}"
    if expected == "clean":
        strays = [f for f in told if "memfd" in f["what"]]
        assert not strays, f"reported, but not held: {json.dumps(strays, indent=1)}"

    held = totals["fds"]
    assert held == counted["after"], f"{counted['after']} descriptors held, {held} in the report"
    print(
        f"sandlock {version}: {sandboxes} sandboxes left {sum(memfds.values())} memfds;"
        f" {total} reported as leaked, through {INJECTS}; {len(findings)} findings"
    )


if __name__ == "__main__":
    main()
