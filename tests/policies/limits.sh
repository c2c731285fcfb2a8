# limits.sh: a sandbox at its limit meets ENOMEM and EMFILE, before anything has happened, and nobody
# else does: not the supervisor, not those that do honest work beside one that takes without end.
# shellcheck source=tests/system/harness.sh disable=SC2154
. "$(dirname "$0")/../system/harness.sh"
programs=${BOXLEDGER_POLICY_PROGRAMS:-$build/tests/policies}
mkdir "$work/files"

# under OPTIONS ARGUMENTS...
under() {
    local got=0
    options=$1
    shift
    shimmed limits "$@" || got=$?
    [[ $got -eq 0 ]] || fail "$options: $*: status $got"
}
under limit_fds=8 each "$work/files"
under limit_vmas=6:limit_bytes=256K maps
under limit_vmas=6:limit_bytes=256K:placement:rescue:reclaim maps
echo 'owner thread name=limited-*' >"$work/rules"
under limit_fds=8:placement:rules="$work/rules" thread

# 51 sandboxes in a process with room for 400 descriptors; 50 of them need 200.
(
    ulimit -n 400
    under limit_fds=20:limit_vmas=200 crowd 200 20
    under reserve_fds=30:limit_fds=100:limit_vmas=200:placement crowd 200 100
    under '' chaos
) || exit 1
(
    ulimit -Sn 300
    under reserve_fds=40 reserve_fds 40
    under reserve_fds=250:limit_fds=100 reserve_fds 250
) || exit 1
max=$(</proc/sys/vm/max_map_count)
under reserve_vmas=$((max - 3000)) reserve_vmas $((max - 3000))

got=0
options=limit_fds=4:limit_bytes=1M
shimmed limits kvm || got=$?
[[ $got -eq 0 || $got -eq 77 ]] || fail "what a VM has: status $got"
