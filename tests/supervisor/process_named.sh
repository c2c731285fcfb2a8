# process_named.sh: boxsup names its sandboxes to boxledger, which says that nothing is left behind,
# or, with a defect, which function has not closed what it injected, once for each sandbox.
. "$(dirname "$0")/process.sh"
sandboxes=30

# report [OPTION...]: of a churn, into $work/report.
report() {
    timeout -k 5 "$limit" "$boxledger" run --report="$work/report" -- \
        "$boxsup" churn --count=$sandboxes --jobs=4 "$@" >"$work/out" ||
        fail "$*: status $?: $(tail -n 2 "$work/out")"
}

report
grep -q "^SUMMARY: boxledger: nothing left behind by $sandboxes sandboxes" "$work/report" ||
    fail "without a defect: $(<"$work/report")"

# finds DEFECT FUNCTION
finds() {
    report --defect="$1"
    grep -q "^Left behind: $sandboxes descriptors.*, 1 per sandbox, by $sandboxes of $sandboxes api" \
        "$work/report" || fail "$1: $(<"$work/report")"
    grep -q " in $2 " "$work/report" || fail "$1: not found in $2: $(<"$work/report")"
}
finds addfd-leak-proc answer_contents
finds addfd-leak-hostname virtual_answer_hostname
finds addfd-leak-random virtual_answer_random
finds addfd-leak-cow cow_answer_open
