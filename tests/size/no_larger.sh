# no_larger.sh: sandboxes that have ended and left nothing cost no memory: so many in one process,
# however they are recognised, leave the ledger and the process as large as the first ones did; with
# reclaim on also those that leave something.
# shellcheck source=tests/system/harness.sh disable=SC2154
. "$(dirname "$0")/../system/harness.sh"
programs=${BOXLEDGER_SIZE_PROGRAMS:-$build/tests/size}
if [[ $long == 1 ]]; then
    all=10000000 left=2000000 threads=200000 children=100000 vms=20000 limit=3600
else
    all=200000 left=100000 threads=20000 children=3000 vms=300
fi

# sandboxes KIND FIRST ALL: the program's own verdict; 77: it cannot be had here.
sandboxes() {
    local status=0
    echo "--- $*${options:+, $options}"
    shimmed sandboxes "$@" 2>"$work/err" || status=$?
    grep -E '^(.*sandboxes\.c:|SUMMARY|skipped|.*reclaimed,)' "$work/err" || true
    [[ $status -eq 77 ]] || judge $status "$*"
}

bare sandboxes api 1000 2000 >/dev/null || fail "without the shim: status $?"
sandboxes api 10000 $all
sandboxes thread 1000 $threads
sandboxes child 500 $children
[[ -w /dev/kvm ]] || echo "kvm: skipped, /dev/kvm cannot be opened"
[[ ! -w /dev/kvm ]] || sandboxes kvm 100 $vms
options=reclaim=1:settle_ms=20:quarantine_bytes=1M
sandboxes left 20000 $left
