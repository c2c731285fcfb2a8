# gate.sh: what the tests of `boxledger gate` share; sourced by them after harness.sh.
# shellcheck shell=bash disable=SC2034,SC2154
need_command
sandboxes=$programs/gate_sandboxes
# A gate that runs at GitHub or GitLab writes more: only where a test says so.
unset GITHUB_ACTIONS GITHUB_WORKSPACE CI_PROJECT_DIR

# gate STATUS [OPTION...] -- COMMAND...: it must end so. What it says is in $work/out and
# $work/err.
gate() {
    local expected=$1 got=0
    shift
    timeout -k 5 "$limit" env ${fault:+"BOXLEDGER_FAULT=$fault"} BOXLEDGER_SHIM="$shim" \
        "$boxledger" gate "$@" >"$work/out" 2>"$work/err" </dev/null || got=$?
    [[ $got -eq $expected ]] ||
        fail "gate $*: status $got, not $expected: $(tail -n 5 "$work/err")"
}

# says WORDS: the gate's last words were these, in its text.
says() {
    grep -qF -- "$1" "$work/err" || fail "it does not say '$1': $(tail -n 8 "$work/err")"
}
says_not() {
    ! grep -qF -- "$1" "$work/err" || fail "it says '$1': $(tail -n 8 "$work/err")"
}

# Nothing of the command's own is left beside what it wrote.
no_leftovers() {
    local left
    left=$(find "$work" -name '.boxledger-*')
    [[ -z $left ]] || fail "left behind: $left"
}
