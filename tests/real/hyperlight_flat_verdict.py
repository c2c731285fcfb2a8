"""Judges how many VMAs a driver of hyperlight-host had while it made many calls of map_file_cow.

Usage: hyperlight_flat_verdict.py CALLS BARE RECLAIM REPORT MAX_MAP_COUNT
BARE and RECLAIM: what the driver printed.
"""

import json
import statistics
import sys

SETTLED = 4  # of twenty samples, so many are taken before there is evidence
OTHERS = 500  # VMAs of the program itself, and more


def load(path):
    with open(path) as f:
        return json.load(f)


def main():
    calls, limit = int(sys.argv[1]), int(sys.argv[5])
    bare, kept, report = (load(path) for path in sys.argv[2:5])
    if calls > limit:
        assert bare["error"] and limit - OTHERS < bare["calls"] <= limit, f"bare: {bare}"
    else:
        assert bare["calls"] == calls and bare["vmas"][-1] >= calls, f"bare: {bare}"

    assert kept["calls"] == calls and not kept["error"], f"under reclaim: {kept}"
    early, later = kept["vmas"][:SETTLED], kept["vmas"][SETTLED:]
    assert max(later) < min(calls, limit) // 3, f"VMAs: {kept['vmas']}"
    # What a busy machine keeps waiting for one look is a peak and no climb: of most samples.
    middle = len(later) // 2
    halves = statistics.median(later[:middle]), statistics.median(later[middle:])
    assert halves[1] < 2 * halves[0] + OTHERS, f"VMAs still climb: {kept['vmas']}"
    counts = {}
    for finding in report["findings"]:
        counts[finding["verdict"]] = counts.get(finding["verdict"], 0) + finding["count"]
    reclaimed, left = counts.pop("reclaimed", 0), counts.pop("leaked", 0)
    assert not counts, f"findings of other kinds: {counts}"
    assert reclaimed + left == calls, f"{reclaimed} reclaimed and {left} left of {calls}"
    ended = f"ended after {bare['calls']} calls" if bare["error"] else f"had {bare['vmas'][-1]} VMAs"
    print(
        f"bare {ended}; under reclaim {calls} calls: {max(early)} VMAs at first, at most"
        f" {max(later)} later; {reclaimed} mappings reclaimed, {left} left"
    )


if __name__ == "__main__":
    main()
