# children_counted.sh: every child is one sandbox, however it is made and reaped (DESIGN 5).
. "$(dirname "$0")/harness.sh"
both children_counted
both children_counted execs
run --format=json --report="$work/report" -- "$programs/children_counted" - || fail "status $?"
begun=$(json "$work/report" .totals.owners_begun)
ended=$(json "$work/report" .totals.owners_ended)
[[ $begun -gt 2000 && $begun -eq $ended ]] || fail "$begun sandboxes have begun, $ended have ended"
