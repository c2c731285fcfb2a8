# exec_goes_on.sh: the ledger follows the supervised process through ten execs (promise 6).
. "$(dirname "$0")/harness.sh"
bare exec_goes_on >"$work/out" || fail "bare: status $?"
need_tool jq
run --ledger="$ledger" --live --format=json --report="$work/report" -- \
    "$programs/exec_goes_on" - >"$work/out" || fail "under boxledger run: status $?"
grep -q 'images 11' "$work/out" || fail "not all images ran"
kept=$(json "$work/report" '[.live[] | select(.resource == "fd" and
    ([.stack[]?.function] | any(. == "main"))) | .count] | add')
# 11 that were kept, and the last image's own close-on-exec one.
[[ $kept -eq 12 ]] || fail "$kept descriptors are held at the end, not 12"
shimmed exec_goes_on >"$work/out" || fail "with a ledger of its own: status $?"
