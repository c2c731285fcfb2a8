# api_calls.sh: what boxledger.h promises: in each part of api_calls.c, as it is called.
. "$(dirname "$0")/harness.sh"
skipped=
for part in child scopes threads handler assigned one many; do
    status=0
    shimmed api_calls "$part" 2>"$work/err" || status=$?
    if [[ $status -eq 77 ]]; then
        skipped=$(tail -n 1 "$work/err")
    elif [[ $status -ne 0 ]]; then
        fail "$part: status $status: $(<"$work/err")"
    fi
done
bare api_calls nobody || fail "without the shim"
options=settle_ms=100
shimmed api_calls left 2>"$work/err" || fail "left: status $?: $(<"$work/err")"
[[ -z $skipped ]] || skip "$skipped"
