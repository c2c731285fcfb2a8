#!/usr/bin/env bash
# Real input 2 under reclaim: hyperlight-host 0.13.0 forgets what map_file_cow maps, so that each call
# leaves a VMA. With reclaim=1 their number climbs until there is evidence, and from then on stays
# where it is. BOXLEDGER_LONG=1: 200,000 calls, of which bare all fail from vm.max_map_count on.
# settle_ms is what lets evidence be complete soon: the first of eight sandboxes that left something
# must have ended eight settling times ago.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../system/lib.sh"
. "$(dirname "${BASH_SOURCE[0]}")/hyperlight_drivers.bash"

release=oldest # 0.13.0
settle_ms=20
calls=20000
[[ $long != 1 ]] || calls=200000

driver "$release" many "$calls"
timeout 600 "${command[@]}" >"$work/bare" 2>"$work/err" || fail "bare: exit $?: $(cat "$work/err")"
timeout 600 "$boxledger" run --reclaim --settle-ms="$settle_ms" --format=json \
    --report="$work/report.json" -- "${command[@]}" >"$work/out" 2>"$work/err" ||
    fail "under reclaim: exit $?: $(cat "$work/err")"
python3 "$source/tests/real/hyperlight_flat_verdict.py" "$calls" "$work/bare" "$work/out" \
    "$work/report.json" "$(</proc/sys/vm/max_map_count)"
