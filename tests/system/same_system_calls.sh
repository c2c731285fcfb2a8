# same_system_calls.sh: between two marks, the program's system calls and no others (promise 1).
. "$(dirname "$0")/harness.sh"
status=0
bare same_system_calls >"$work/bare" || status=$?
judge $status "without the shim"
BOXLEDGER_FAULT=$fault bare same_system_calls "$shim" "ledger=$ledger" >"$work/shimmed" || status=$?
judge $status "under the shim"
[[ -e $ledger ]] || fail "the shim was not there"
diff "$work/bare" "$work/shimmed" >&2 || fail "system calls differ: bare is <, under the shim is >"
