# rescue.sh [WHAT...]: munmap at the limit of VMAs. The program of F3 runs twice in one process and no unmap
# fails; pages are back at once; what must not be rescued is not; what waits is taken over by what
# is mapped there. Without rescue it is as the kernel has it. Named, it is only these under rescue.
# shellcheck source=tests/system/harness.sh disable=SC2154
. "$(dirname "$0")/../system/harness.sh"
programs=${BOXLEDGER_POLICY_PROGRAMS:-$build/tests/policies}

# number NAME FILE: what stands before NAME in a line of the first round.
number() { sed -n "s/^round $3:.* \([0-9]*\) $1.*/\1/p" "$2"; }

# rounds WHAT FAILED: what was printed. VMAs: as many as before, and what still holds a page.
judge_rounds() {
    local round
    for round in 1 2; do
        [[ $(number "unmaps failed" "$work/out" $round) -eq $2 ]] ||
            fail "$1: not $2 unmaps failed: $(<"$work/out")"
        [[ $(sed -n "s/^round $round: \([0-9]*\) pages.*/\1/p" "$work/out") -ge 65000 ]] ||
            fail "$1: pages are not back: $(<"$work/out")"
        [[ $(number "VMAs$" "$work/out" $round) -le 65531 ]] || fail "$1: $(<"$work/out")"
        [[ $(number "VMAs at its end" "$work/out" $round) -lt 100 ]] ||
            fail "$1: VMAs stay: $(<"$work/out")"
    done
}

# under_rescue WHAT...: what the program does and judges itself, and the rounds, whose figures are ours.
under_rescue() {
    local what status
    options=rescue=1
    for what; do
        status=0
        shimmed rescue "$what" >"$work/out" 2>"$work/err" || status=$?
        [[ $status -eq 0 ]] || grep '^\.\.\|: ' "$work/err" | head -20 >&2
        judge $status "$what under rescue"
        [[ $what != rounds ]] || judge_rounds "under rescue" 0
    done
}
if [[ $# -gt 0 ]]; then
    under_rescue "$@"
    exit
fi

status=0
bare rescue rounds >"$work/out" || status=$?
judge $status "rounds without the shim"
failed=$(number "unmaps failed" "$work/out" 1)
[[ $failed -ge 7 ]] || fail "without rescue only $failed unmaps fail: this shows nothing"
shimmed rescue rounds >"$work/out" 2>"$work/err" || fail "rounds without rescue: status $?"
[[ $(number "unmaps failed" "$work/out" 1) -ge 7 ]] || fail "without rescue: $(<"$work/out")"

under_rescue rounds kinds again over stack

# What still waits is in every report, and nobody's fault.
need_tool jq
status=0
run --rescue --live --format=json --report="$work/report" --error-exitcode=9 -- \
    "$programs/rescue" - waits >"$work/out" 2>&1 || status=$?
judge $status "three pages that wait, under boxledger run"
finding='.findings[] | select(.verdict == "rescued")'
is=$(json "$work/report" "[$finding | .what, .count, .bytes, .waiting_bytes, .errno,
    (.stack | any(.function == \"leave_waiting\"))] | join(\" \")")
[[ $is == "munmap 2 12288 12288 12 true" ]] || fail "the finding is: $is"
is=$(json "$work/report" '.policies | [.on[], .rescued, .waiting_ranges, .waiting_bytes] | join(" ")')
[[ $is == "rescue 2 2 12288" ]] || fail "policies: $is"
is=$(json "$work/report" '[.live[] | select(.what == "memory that waits to be unmapped") | .bytes] |
    add')
[[ $is == 12288 ]] || fail "of what is held $is bytes wait"
[[ $(json "$work/report" '.findings | length') == 1 ]] || fail "something else is wrong, too"
for call in mprotect:12 madvise:11 mremap:12; do
    is=$(json "$work/report" "[.refused[] | select(.what == \"${call%:*}\") |
        .count, .errno, (.vmas > 65000 and .vmas < 66000)] | join(\" \")")
    [[ $is == "1 ${call#*:} true" ]] || fail "the refused $call: $is"
done
shimmed rescue waits >"$work/out" 2>"$work/err" || fail "three pages that wait: status $?"
grep -q '2 munmaps rescued (12 KiB still wait)' "$work/err" || fail "bare: $(tail -5 "$work/err")"
grep -q '2 refused munmaps rescued (12 KiB), called at:' "$work/err" ||
    fail "bare: $(tail -5 "$work/err")"
