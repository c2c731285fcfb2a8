# statuses_followed.sh: the report says of followed processes how they ended, by whatever way of
# ending; and quick_exit is an end like others.
. "$(dirname "$0")/harness.sh"
need_tool python3
quick='import ctypes; ctypes.CDLL(None).quick_exit(6)'
run --follow --report="$work/report" -- sh -c "sh -c 'exit 3'; python3 -c 'raise SystemExit(5)'
    python3 -c '$quick'; python3 -c 'import os; os._exit(7)'; true" || fail "status $?"
for status in 3 5 6 7; do
    grep -q "exited with status $status" "$work/report" ||
        fail "nobody exited with $status: $(grep exited "$work/report")"
done
got=0
timeout 30 env LD_PRELOAD="$shim" "$(python3 -c 'import sys; print(sys.executable)')" -c "$quick" \
    2>"$work/err" || got=$?
[[ $got -eq 6 ]] || fail "quick_exit: status $got"
grep -q '^SUMMARY: boxledger' "$work/err" || fail "quick_exit: no report"
