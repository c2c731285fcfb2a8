# bench_boxsup.sh: the bench of boxsup runs, and finds everything to compare with that is there.
. "$(dirname "$0")/process.sh"

BENCH_SANDLOCK=$work/none timeout 100 python3 -B "$source/tests/bench/bench_boxsup.py" \
    --build="$build" --smoke --output="$work/result.json" >"$work/out" 2>"$work/err" ||
    fail "status $?: $(<"$work/err")"
grep -q "^| boxsup, one process | [0-9]" "$work/out" || fail "$(<"$work/out")"
grep -q "^| a shadow | [0-9][^|]*| [0-9]" "$work/out" || fail "$(<"$work/out")"
grep -q "^Skipped: sandlock, one process: " "$work/out" || fail "$(<"$work/out")"
