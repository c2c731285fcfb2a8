# first_descriptors.sh: the lowest free descriptor and all that is open at the start are the same
# with and without the shim, bare and under `boxledger run` (promise 1).
. "$(dirname "$0")/harness.sh"
bare first_descriptors 5</dev/null 9</dev/null >"$work/bare"
shimmed first_descriptors 5</dev/null 9</dev/null >"$work/shimmed" 2>"$work/err"
diff "$work/bare" "$work/shimmed" >&2 || fail "bare is <, under the shim is >"
first=/nonexistent.so shimmed first_descriptors >"$work/other" 2>"$work/err"
grep -q 'LD_PRELOAD: /nonexistent.so$' "$work/other" ||
    fail "somebody else's LD_PRELOAD is gone: $(grep LD_PRELOAD "$work/other")"
bare first_descriptors <&- >"$work/bare"
shimmed first_descriptors <&- >"$work/shimmed" 2>"$work/err"
diff "$work/bare" "$work/shimmed" >&2 || fail "with no standard input: bare is <, the shim's is >"
if [[ -x $boxledger ]]; then
    bare first_descriptors 5</dev/null 9</dev/null | grep -v -e ^BOXLEDGER_ -e '^_=' >"$work/bare"
    run --report="$work/report" -- "$programs/first_descriptors" - 5</dev/null 9</dev/null |
        grep -v -e ^BOXLEDGER_ -e '^_=' >"$work/run"
    diff "$work/bare" "$work/run" >&2 || fail "bare is <, under boxledger run is >"
fi
