# raw_calls.sh: ends, filters and unshared descriptors that come by syscall(2) (promises 1 and 5).
. "$(dirname "$0")/harness.sh"
both raw_calls
both raw_calls filter
both raw_calls child_filter
run --follow --report="$work/report" -- "$programs/raw_calls" - child_filter ||
    fail "a child under its parent's filter, followed: status $?"

# What answers with a version takes nothing (landlock.7).
status=0
run --report="$work/report" --live -- "$programs/raw_calls" - version </dev/null || status=$?
if [[ $status -ne 77 ]]; then # else the kernel has no such number, and it said so
    [[ $status -eq 0 ]] || fail "landlock's version: status $status"
    ! grep -q landlock "$work/report" || fail "a version is a ruleset: $(<"$work/report")"
fi

# A process whose descriptors are unshared ends and execs as any other does.
both raw_calls unshared
timeout 30 env LD_PRELOAD="$shim" "$programs/raw_calls" - unshared 2>"$work/err" || fail "status $?"
grep -q '1 descriptor (memfd) still held' "$work/err" || fail "no report: $(<"$work/err")"
run --report="$work/report" --live -- "$programs/raw_calls" - unshared || fail "status $?"
grep -q 'memfd' "$work/report" || fail "the memfd is not in the report: $(<"$work/report")"
run --report="$work/report" --live -- "$programs/raw_calls" - unshared /bin/cat /dev/null ||
    fail "an exec: status $?"
grep -q 'boxledger: /bin/cat /dev/null' "$work/report" ||
    fail "the report is not about the new image: $(<"$work/report")"
