# api_calls.sh: what boxledger.h promises: in each part of api_calls.c, as it is called.
. "$(dirname "$0")/harness.sh"
skipped=
try() {
    local status=0
    shimmed api_calls "$1" 2>"$work/err" || status=$?
    if [[ $status -eq 77 ]]; then
        skipped=$(tail -n 1 "$work/err")
    elif [[ $status -ne 0 ]]; then
        fail "$1: status $status: $(<"$work/err")"
    fi
}

bare api_calls nobody || fail "without the shim"
for part in child scopes threads handler assigned one many; do
    try "$part"
done
options=settle_ms=100
for part in left forgotten; do
    try "$part"
done
[[ -z $skipped ]] || skip "$skipped"
