# clean_child.sh: what a child of the program sees is what it sees without us (promise 6).
. "$(dirname "$0")/harness.sh"
bare clean_child >"$work/bare"
[[ $(grep -c '^/proc/self/fd/0' "$work/bare") -eq 17 ]] || fail "the children say too little"
shimmed clean_child >"$work/shimmed" 2>"$work/err"
diff "$work/bare" "$work/shimmed" >&2 || fail "bare is <, under the shim is >"
if [[ -x $boxledger ]]; then
    run --report="$work/report" -- "$programs/clean_child" - >"$work/run"
    diff <(grep -v ^BOXLEDGER_ "$work/bare") <(grep -v ^BOXLEDGER_ "$work/run") >&2 ||
        fail "bare is <, under boxledger run is >"
fi
