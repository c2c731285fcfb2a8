# nearly_full.sh: at 80% of a limit there is one line on stderr, with what holds most, and a word in
# the ledger; below, in a thread with a filter, and where stderr is another file, there is none.
. "$(dirname "$0")/harness.sh"

# told NUMBER STEP...: runs the program with at most 100 descriptors; so many lines there must be.
told() {
    local number=$1 status=0
    shift
    (
        ulimit -Sn 100
        exec env LD_PRELOAD="$shim" ${fault:+"BOXLEDGER_FAULT=$fault"} \
            BOXLEDGER_OPTIONS="$options" "$programs/nearly_full" "$@"
    ) >"$work/out" 2>"$work/err" </dev/null || status=$?
    [[ $status -ne 77 ]] || skip "no filter may be put on here"
    [[ $status -eq 0 && $(<"$work/out") == "done" ]] || fail "$*: status $status: $(<"$work/err")"
    grep '^boxledger: process' "$work/err" >"$work/lines" || true
    [[ $(wc -l <"$work/lines") -eq $number ]] ||
        fail "$*: not $number lines: $(<"$work/lines")"
}

told 0 fds 79
told 1 fds 80
place="$(realpath "$programs/nearly_full")"
[[ $(<"$work/lines") =~ ^boxledger:\ process\ [0-9]+\ uses\ 80\ of\ 100\ descriptors:\ ([0-9]+)\ taken\ in\ ($place)\+(0x[0-9a-f]+)$ ]] ||
    fail "the line: $(<"$work/lines")"
((BASH_REMATCH[1] >= 70)) || fail "only ${BASH_REMATCH[1]} by the stack that holds most"
told 1 fds 100 fds 100
told 0 raise 1000 fds 300
told 1 raise 1000 fds 900
told 0 high 99 fds 60
told 1 high 99 fds 95
told 0 filter - fds 100
told 0 elsewhere "$work/elsewhere" fds 100
! grep -q boxledger "$work/elsewhere" || fail "it wrote to another's file: $(<"$work/elsewhere")"

# 4 of 100 a sandbox, and what was there before: the 81st is open in the 20th at the latest.
told 1 boxes 20
[[ $(<"$work/lines") =~ \;\ at\ this\ rate\ the\ limit\ is\ reached\ in\ ([0-9]+)\ sandboxes$ ]] ||
    fail "no rate: $(<"$work/lines")"
((BASH_REMATCH[1] >= 3 && BASH_REMATCH[1] <= 5)) || fail "another rate: $(<"$work/lines")"

# 80% of the VMAs; the table is the system's, so this many are made.
max=$(</proc/sys/vm/max_map_count)
if ((max <= 262144)); then
    told 0 vmas $((max * 78 / 100))
    told 1 vmas $((max * 82 / 100))
    grep -q " of $max VMAs: [0-9]* taken in $place+0x" "$work/lines" ||
        fail "the line: $(<"$work/lines")"
fi

# Nobody reads: the program goes on and ends as it would.
(
    ulimit -Sn 100
    LD_PRELOAD=$shim "$programs/nearly_full" fds 90 2>&1 >"$work/out" | :
    [[ ${PIPESTATUS[0]} -eq 0 ]]
) || fail "a reader that went away ended the program"

# Under the command, the command says it, and the report has it.
need_command
need_tool jq
(
    ulimit -Sn 100
    run --format=json --report="$work/json" -- "$programs/nearly_full" fds 90 pause 2 \
        >"$work/out" 2>"$work/err"
) || fail "under the command: status $?: $(<"$work/err")"
[[ $(json "$work/json" '[.warnings[] | select(.resource == "fd") | .limit] | join(" ")') == 100 ]] ||
    fail "the report: $(json "$work/json" .warnings)"
[[ $(grep -c 'of 100 descriptors' "$work/err") -eq 1 ]] || fail "the command says: $(<"$work/err")"
