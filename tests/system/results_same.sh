# results_same.sh: result and errno of every call are those of the bare program (promise 1).
. "$(dirname "$0")/harness.sh"
mkdir "$work/a"
bare results_same "$work/a" </dev/null >"$work/bare" || fail "bare: status $?"
rm -rf "$work/a"
mkdir "$work/a"
shimmed results_same "$work/a" </dev/null >"$work/shimmed" || fail "under the shim: status $?"
[[ $(wc -l <"$work/bare") -gt 200 ]] || fail "the program said too little"
diff "$work/bare" "$work/shimmed" >&2 || fail "calls differ: bare is <, under the shim is >"
