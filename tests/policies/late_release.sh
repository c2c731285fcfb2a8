# late_release.sh [later|race]: what was reclaimed and is then released by the supervisor itself, in every way
# there is, takes nothing from anybody: 8 threads check every byte and every descriptor of theirs.
# So it is when it happens at that very moment. Named, it is only the one or the other.
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
[[ $# -gt 0 ]] || set -- later race
for when; do
    "$when"
done
