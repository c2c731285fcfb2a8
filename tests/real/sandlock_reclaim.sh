#!/usr/bin/env bash
# Real input 1 under reclaim: sandlock 0.4.6 keeps a supervisor's copy of every memfd that it
# injects, and dies of it. With a soft limit of 256 descriptors it does so after some 80 sandboxes;
# with reclaim=1 it runs 300 (BOXLEDGER_LONG=1: 2,000), holds no more from the 20th on, and the
# output of each is right. settle_ms is what lets evidence be complete by then: a sandbox takes some
# 25 ms, and the first of eight that left something must have lain for eight settling times.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../system/lib.sh"
. "$(dirname "${BASH_SOURCE[0]}")/sandlock_environment.bash"

version=0.4.6
soft_limit=256
settle_ms=20
flat_from=20
count=300
[[ $long != 1 ]] || count=2000

environment "$version"
loop=$source/tests/real/sandlock_flat.py
interpreter=$work/$version/bin/python
timeout 120 "$interpreter" "$loop" 3 >"$work/few" 2>"$work/err" ||
    skip "sandlock $version does not run here: $(tail -n 1 "$work/err")"
verdict() {
    "$python" "$source/tests/real/sandlock_flat_verdict.py" "$@"
}

ulimit -S -n "$soft_limit"
status=0
timeout 300 "$interpreter" "$loop" "$count" >"$work/bare" 2>"$work/err" || status=$?
[[ $status -ne 0 ]] || fail "sandlock $version ran $count sandboxes in $soft_limit descriptors, bare"
verdict bare "$work/bare" "$count"

timeout 900 "$boxledger" run --reclaim --settle-ms="$settle_ms" --format=json \
    --report="$work/report.json" -- "$interpreter" "$loop" "$count" >"$work/out" 2>"$work/err" ||
    fail "sandlock $version under reclaim: exit $?: $(tail -n 3 "$work/err")"
verdict reclaim "$work/out" "$count" "$flat_from" "$work/report.json"
