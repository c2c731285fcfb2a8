"""Judges what sandlock_flat.py printed.

Usage: sandlock_flat_verdict.py bare PRINTED SANDBOXES
       sandlock_flat_verdict.py reclaim PRINTED SANDBOXES FLAT_FROM REPORT
"""

import json
import sys

SLACK = 16  # a look at a busy machine may come some sandboxes late


def main():
    mode, printed, sandboxes, *rest = sys.argv[1:]
    sandboxes = int(sandboxes)
    with open(printed) as f:
        lines = [tuple(map(int, line.split())) for line in f]
    right = [held for _, ok, held in lines if ok]
    if mode == "bare":
        assert len(right) < sandboxes, f"all {sandboxes} ran bare"
        print(f"bare: {len(right)} of {sandboxes} sandboxes, then no descriptor was left")
        return

    flat_from, report = int(rest[0]), rest[1]
    assert len(right) == sandboxes, f"{len(right)} of {sandboxes} told what they should"
    first, later = right[:flat_from], right[flat_from:]
    # The quarantine fills for a while, and is what it may be at most from then on.
    level = max(later[: len(later) // 2])
    assert level <= max(first) + SLACK, f"{level} descriptors after {max(first)}"
    assert max(later) <= level + SLACK, f"{max(later)} descriptors in the end, {level} before"
    with open(report) as f:
        report = json.load(f)
    verdicts = {}
    for finding in report["findings"]:
        key = finding["verdict"], finding["resource"]
        verdicts[key] = verdicts.get(key, 0) + finding["count"]
    reclaimed = verdicts.pop(("reclaimed", "fd"), 0)
    left = verdicts.pop(("leaked", "fd"), 0)
    assert not verdicts, f"findings of other kinds: {verdicts}"
    assert reclaimed > left and (reclaimed + left) % sandboxes == 0, (
        f"{reclaimed} descriptors reclaimed and {left} left of {sandboxes} sandboxes"
    )
    print(
        f"reclaim: {sandboxes} sandboxes, every output right; {max(first)} descriptors after"
        f" {flat_from}, {max(later)} at most later; {reclaimed} reclaimed, {left} left"
    )


if __name__ == "__main__":
    main()
