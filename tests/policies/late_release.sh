# late_release.sh [later|race|slow]: what was reclaimed and is then released by the supervisor itself,
# in every way there is, takes nothing from anybody: 8 threads check every byte and every descriptor
# of theirs. So it is when it happens at that very moment, and when the faulty shim makes that moment
# 5 ms long. Named, it is only that one.
# BOXLEDGER_LONG=1: 10,000,000 operations of theirs, and 2 s from the one to the other.
# shellcheck source=tests/system/harness.sh disable=SC2154
. "$(dirname "$0")/../system/harness.sh"
programs=${BOXLEDGER_POLICY_PROGRAMS:-$build/tests/policies}
operations=200000 wait_ms=100
if [[ $long == 1 ]]; then
    operations=10000000 wait_ms=2000 limit=3500
fi
mkdir "$work/files"
ulimit -n 4096
later() {
    options=reclaim=1:settle_ms=100:quarantine_fds=1000
    both late_release "$work/files" $operations $wait_ms
}
race() {
    options=reclaim=1:settle_ms=20:quarantine_fds=1000
    both late_release "$work/files" $operations race 20
}
# reclaim_slow breaks nothing; a release has but to wait.
slow() {
    [[ -z $fault && -e $faulty ]] || return 0
    options=reclaim=1:settle_ms=20:quarantine_fds=1000
    fault=reclaim_slow shim=$faulty
    shimmed late_release "$work/files" $((operations / 4)) race 20 || fail "with a slow reclaim: $?"
}
[[ $# -gt 0 ]] || set -- later race slow
for when; do
    "$when"
done
