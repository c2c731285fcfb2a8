# api_nonsense.sh: a call of boxledger.h that makes no sense is refused and changes nothing: what
# the command reads in the ledger before and after such calls is the same.
. "$(dirname "$0")/harness.sh"
need_tool jq

coproc supervisor { shimmed api_calls nonsense 2>"$work/err"; }
# shellcheck disable=SC2154 # coproc sets it
pid=$supervisor_PID
look() {
    read -r -t "$limit" _ <&"${supervisor[0]}" || fail "it ended early: $(<"$work/err")"
    timeout 20 "$boxledger" report --format=json --live "$ledger" >"$work/$1.raw" ||
        fail "no report: status $?"
    # What changes by itself: the time, and what the process has beside its sandboxes.
    jq 'del(.process.end_ns, .totals.vmas, .process.elapsed_ns)' "$work/$1.raw" >"$work/$1"
}
look before
echo >&"${supervisor[1]}"
look after
echo >&"${supervisor[1]}"
status=0
wait "$pid" || status=$?
[[ $status -eq 0 ]] || fail "status $status: $(<"$work/err")"
diff "$work/before" "$work/after" >&2 || fail "calls that were refused changed the ledger"

# What was said before is there: a label is cut at 47 bytes, and none is none.
[[ $(json "$work/before" '[.owners[].label // "" | length] | sort | join(" ")') == "0 4 5 47" ]] ||
    fail "the labels: $(json "$work/before" '[.owners[].label]')"
[[ $(json "$work/before" '[.owners[] | select(.state == "ended")] | length') -eq 1 ]] ||
    fail "not one owner ended"
