# bench_boxsup.sh: the bench of boxsup runs, finds everything to compare with that is there, and
# puts its tables into a document's one section.
. "$(dirname "$0")/process.sh"

BENCH_SANDLOCK=$work/none timeout 100 python3 -B "$source/tests/bench/bench_boxsup.py" \
    --build="$build" --smoke --output="$work/result.json" >"$work/out" 2>"$work/err" ||
    fail "status $?: $(<"$work/err")"
grep -q "^| boxsup, one process | [0-9]" "$work/out" || fail "$(<"$work/out")"
grep -q "^| a shadow | [0-9][^|]*| [0-9]" "$work/out" || fail "$(<"$work/out")"
grep -q "^Skipped: sandlock, one process: " "$work/out" || fail "$(<"$work/out")"

printf '# Title\n\nbefore\n\n## boxsup\n\nold\n\n## Next\n\nafter\n' >"$work/document.md"
for _ in 1 2; do
    python3 -B "$source/tests/bench/bench_boxsup.py" --markdown="$work/result.json" \
        --into="$work/document.md"
done
[[ $(grep -c '^## boxsup' "$work/document.md") -eq 1 ]] || fail "not one section"
! grep -q '^old' "$work/document.md" || fail "the old section is there still"
grep -q '^before' "$work/document.md" || fail "what was before it is gone"
grep -q '^after' "$work/document.md" || fail "what was after it is gone"
