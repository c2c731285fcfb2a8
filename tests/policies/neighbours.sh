# neighbours.sh: with placement, 1,000 sandboxes that map in turn are never merged with one another:
# at most two VMAs each at every moment, and no unmap splits one. Without, most do.
# shellcheck source=tests/system/harness.sh disable=SC2154
. "$(dirname "$0")/../system/harness.sh"
programs=${BOXLEDGER_POLICY_PROGRAMS:-$build/tests/policies}
rounds=8
[[ $long == 0 ]] || rounds=32 limit=900

shimmed neighbours 1000 $rounds 1 merged || fail "without placement"
options=placement
shimmed neighbours 1000 $rounds 1 apart || fail "with placement"
shimmed neighbours 1000 $rounds 8 apart || fail "with placement, by 8 threads"
# Beside the other policies, in a process with little room.
options=placement:rescue:reclaim:limit_vmas=1000:reserve_vmas=100:limit_fds=10
shimmed neighbours 1000 $rounds 4 apart || fail "with every policy"
