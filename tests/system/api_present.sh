# api_present.sh: boxledger.h says whether the shim is there; without it, the program is the same.
. "$(dirname "$0")/harness.sh"
program=$programs/api_present
[[ $("$program") == "0 0" ]] || fail "without the shim: $("$program")"
got=$(LD_PRELOAD=$shim "$program" 2>"$work/err")
[[ $got == "1 0" ]] || fail "under the shim: $got, not 1 in the process and 0 in its child"
