# quarantine.sh: how many numbers and bytes reclaim keeps occupied, that the oldest go first, and
# that what goes is asked for first: by then it may be somebody else's.
# shellcheck source=tests/system/harness.sh disable=SC2154
. "$(dirname "$0")/../system/harness.sh"
programs=${BOXLEDGER_POLICY_PROGRAMS:-$build/tests/policies}
settle_ms=100
options=reclaim=1:settle_ms=$settle_ms:quarantine_fds=4
shimmed quarantine fds $settle_ms 4 || fail "numbers: status $?"
shimmed quarantine exec $settle_ms 4 || fail "over an exec: status $?"
options=reclaim=1:settle_ms=$settle_ms:quarantine_bytes=$((6 * $(getconf PAGESIZE)))
shimmed quarantine bytes $settle_ms 6 || fail "ranges: status $?"
options=reclaim=1:settle_ms=$settle_ms:quarantine_bytes=$((16 * $(getconf PAGESIZE)))
shimmed quarantine refused $settle_ms 16 || fail "refused: status $?"
options=reclaim=1:settle_ms=$settle_ms
shimmed quarantine neighbours $settle_ms 0 || fail "neighbours: status $?"
