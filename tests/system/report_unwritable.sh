# report_unwritable.sh: a report that could not be written anywhere is the status 125, not the
# program's: on a closed stderr and a full device as well as in a file.
. "$(dirname "$0")/harness.sh"
need_command
[[ -c /dev/full ]] || skip "there is no /dev/full"

# is STATUS WHAT: the last status, in $got, and back to 0.
is() {
    [[ $got -eq $1 ]] || fail "$2: status $got, not $1"
    got=0
}

program=("$programs/takes_things" memfds=2 exit=7)
got=0
run -- "${program[@]}" 2>&- || got=$?
is 125 "stderr closed"
run -- "${program[@]}" 2>/dev/full || got=$?
is 125 "stderr full"
run --report=/dev/full -- "${program[@]}" 2>"$work/err" || got=$?
is 125 "a full file"
run -- "${program[@]}" 2>/dev/null || got=$?
is 7 "stderr that nobody reads"
run --report="$work/report" -- "${program[@]}" 2>&- || got=$?
is 7 "stderr closed, a report elsewhere"
[[ $(tail -1 "$work/report") == SUMMARY:* ]] || fail "no report in the file"

# The same of a ledger that was saved.
run --report="$work/again" --ledger="$work/saved" -- "${program[@]}" || got=$?
is 7 "a ledger to save"
"$boxledger" report "$work/saved" 2>"$work/err" >&- || got=$?
is 125 "report, stdout closed"
"$boxledger" report "$work/saved" 2>"$work/err" >/dev/full || got=$?
is 125 "report, stdout full"
"$boxledger" report "$work/saved" >"$work/out" || got=$?
is 0 "report"
