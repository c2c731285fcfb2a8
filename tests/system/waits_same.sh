# waits_same.sh: calls that wait or make children answer as in the bare program (promise 1).
. "$(dirname "$0")/harness.sh"
bare waits_same </dev/null >"$work/bare" || fail "bare: status $?"
shimmed waits_same </dev/null >"$work/shimmed" || fail "under the shim: status $?"
[[ $(wc -l <"$work/bare") -gt 120 ]] || fail "the program said too little"
diff "$work/bare" "$work/shimmed" >&2 || fail "calls differ: bare is <, under the shim is >"
