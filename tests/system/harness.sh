# harness.sh: how the system tests run programs of ours, bare and under the shim. Sourced.
#
# Builds on lib.sh. With BOXLEDGER_FAULT=name the test runs on the faulty shim and command, with that
# promise broken, and must then fail: see faults.txt and every_promise_can_break.sh.
# shellcheck shell=bash disable=SC2034,SC2154

fault=${BOXLEDGER_FAULT:-}
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
programs=${BOXLEDGER_TEST_PROGRAMS:-$build/tests/system}
limit=${BOXLEDGER_TEST_SECONDS:-100}
ledger=$work/ledger
if [[ -n $fault ]]; then
    shim=$faulty
    [[ -e $shim ]] || fail "no faulty shim at $shim"
    boxledger=$build/boxledger-faulty
fi
chmod 755 "$work" # some tests run as somebody else
trap 'exit 1' INT TERM HUP

need_command() { [[ -x $boxledger ]] || fail "no command at $boxledger"; }
need_tool() { command -v "$1" >/dev/null 2>&1 || skip "$1 is not installed"; }
need_root() { [[ $(id -u) -eq 0 ]] || skip "needs root"; }

# bare PROGRAM ARGS...: with no shim; "-" stands for the ledger.
bare() {
    local program=$1
    shift
    timeout -k 5 "$limit" "$programs/$program" - "$@"
}

# shimmed PROGRAM ARGS...: under the shim, with a fresh ledger at $ledger. $options are more
# options; $first and $last are other libraries to preload before and after it.
options='' first='' last=''
shimmed() {
    local program=$1
    shift
    rm -f "$ledger"
    timeout -k 5 "$limit" env ${fault:+"BOXLEDGER_FAULT=$fault"} \
        BOXLEDGER_OPTIONS="ledger=$ledger${options:+:$options}" \
        LD_PRELOAD="${first:+$first:}$shim${last:+:$last}" "$programs/$program" "$ledger" "$@"
}

# run ARGS...: `boxledger run ARGS...`.
run() {
    need_command
    timeout -k 5 "$limit" env ${fault:+"BOXLEDGER_FAULT=$fault"} BOXLEDGER_SHIM="$shim" \
        "$boxledger" run "$@"
}

# judge STATUS WHAT: a program's own verdict becomes the test's; why it skips is its last line.
judge() {
    [[ $1 -eq 77 ]] && exit 77
    [[ $1 -eq 0 ]] || fail "$2: status $1"
}

# both PROGRAM ARGS...: bare, then under the shim; both must succeed.
both() {
    local status=0
    bare "$@" || status=$?
    judge $status "$* without the shim"
    shimmed "$@" || status=$?
    judge $status "$* under the shim"
}

# json FILE EXPRESSION: one value out of a JSON file.
json() {
    need_tool jq
    jq -r "$2" "$1" || fail "$1 is not what was expected: $(head -c 300 "$1")"
}
