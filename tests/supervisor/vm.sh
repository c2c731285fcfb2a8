# vm.sh: what the tests of boxsup's VM half share; sourced first by each. Builds on lib.sh.
# shellcheck shell=bash disable=SC2034,SC2154
. "$(dirname "${BASH_SOURCE[0]}")/../system/lib.sh"
programs=$build/tests/supervisor
driver=$programs/vm_driver
limit=${BOXLEDGER_TEST_SECONDS:-100}
chmod 755 "$work" # some tests run as somebody else
export TMPDIR=$work

# The statuses of src/supervisor/status.h.
usage=2 unsupported=123 failed=125

need_kvm() {
    local said status=0
    said=$("$driver" vm 2>&1) || status=$?
    [[ $status -ne $unsupported ]] || skip "$said"
    [[ $status -eq 0 ]] || fail "vm: status $status: $said"
}

# judge STATUS WHAT: a program's own verdict becomes the test's.
judge() {
    [[ $1 -eq 77 ]] && skip "the program says why above"
    [[ $1 -eq 0 ]] || fail "$2: status $1"
}

# both PROGRAM ARGS...: bare, then under the shim; both must succeed, and leave nothing behind.
both() {
    local status=0
    timeout -k 5 "$limit" "$programs/$1" "${@:2}" || status=$?
    judge $status "$*"
    # Within timeout, since a child of what is preloaded is not.
    timeout -k 5 "$limit" env LD_PRELOAD="$shim" "$programs/$1" "${@:2}" 2>"$work/shimmed" ||
        status=$?
    [[ $status -eq 0 ]] || cat "$work/shimmed" >&2
    judge $status "$* under the shim"
    grep -q "^SUMMARY: boxledger: nothing left behind" "$work/shimmed" ||
        fail "$* under the shim: $(<"$work/shimmed")"
}

# refuses STATUS PATTERN ARGS...: `boxsup vm ARGS...` exits with that, after exactly one line, which
# has PATTERN in it, and says nothing else.
refuses() {
    local status=0
    "$driver" vm "${@:3}" >"$work/out" 2>"$work/err" || status=$?
    [[ $status -eq $1 ]] || fail "vm ${*:3}: status $status, not $1: $(<"$work/err")"
    [[ $(wc -l <"$work/err") -eq 1 ]] || fail "vm ${*:3}: not one line: $(<"$work/err")"
    [[ $(<"$work/err") == "boxsup: vm: "*$2* ]] || fail "vm ${*:3}: $(<"$work/err")"
    [[ ! -s $work/out ]] || fail "vm ${*:3}: printed $(<"$work/out")"
}
