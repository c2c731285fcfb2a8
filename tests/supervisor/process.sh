# process.sh: what the tests of boxsup's process sandboxes share; sourced first by each. Builds on
# lib.sh.
# shellcheck shell=bash disable=SC2034,SC2154
. "$(dirname "${BASH_SOURCE[0]}")/../system/lib.sh"
boxsup=$build/boxsup
programs=$build/tests/supervisor
limit=${BOXLEDGER_TEST_SECONDS:-100}
chmod 755 "$work" # some tests run as somebody else

# The statuses of src/supervisor/status.h.
usage=2 unsupported=123 timed_out=124 failed=125 not_executable=126 not_found=127

[[ -x $boxsup ]] || fail "no boxsup at $boxsup"
status=0
"$boxsup" run -- true 2>"$work/err" || status=$?
[[ $status -ne $unsupported ]] || skip "$(<"$work/err")"

# A build may lie where only we may look, below /root say: others have a copy.
if [[ $(id -u) -eq 0 ]]; then
    cp "$boxsup" "$work/boxsup"
    boxsup=$work/boxsup
fi

# Runs boxsup with a limit of time; $as is put before it: another user, the shim.
as=()
boxsup() { timeout -k 5 "$limit" "${as[@]}" "$boxsup" "$@"; }

# each_way FUNCTION: as we are, as an ordinary user, and under the shim.
each_way() {
    as=()
    "$1"
    if [[ $(id -u) -eq 0 ]]; then
        as=(setpriv --reuid=65534 --regid=65534 --clear-groups)
        "$1"
    fi
    as=(env "LD_PRELOAD=$shim")
    "$1"
    as=()
}
