# rescue_storm.sh: 8 threads at the limit of VMAs under rescue lose no byte, for two minutes where
# BOXLEDGER_LONG is set.
# shellcheck source=tests/system/harness.sh disable=SC2154
. "$(dirname "$0")/../system/harness.sh"
programs=${BOXLEDGER_POLICY_PROGRAMS:-$build/tests/policies}
seconds=8
if [[ $long == 1 ]]; then
    seconds=125 limit=300
fi
options=rescue=1
status=0
shimmed rescue_storm $seconds >"$work/out" 2>"$work/err" || status=$?
cat "$work/out"
[[ $status -eq 0 ]] || grep -v 'still held\|^    #' "$work/err" | head -20 >&2
judge $status "the storm under rescue"
