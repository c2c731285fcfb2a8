# innocent.sh: reclaim takes nothing from a supervisor that only seems to leak: pools that lie idle,
# what is kept to be looked at, releases that no wrapper sees. What does leak is taken.
# With arguments: only those scenarios.
# shellcheck source=tests/system/harness.sh disable=SC2154
. "$(dirname "$0")/../system/harness.sh"
programs=${BOXLEDGER_POLICY_PROGRAMS:-$build/tests/policies}
settle_ms=100
options=reclaim=1:settle_ms=$settle_ms
wanted="$*" skipped='' wrong=''

innocent() {
    local status=0
    [[ -z $wanted || " $wanted " == *" $1 "* ]] || return 0
    shimmed innocent "$1" "${2:-$settle_ms}" || status=$?
    case $status in
    0) echo "$1${last:+ with ${last##*/}}: well" ;;
    77) skipped="$1: the program says why above" ;;
    *) wrong="$wrong $1${last:+ with ${last##*/}}" && echo "$1: status $status" ;;
    esac
}

for scenario in leak_memory leak_fds idle_pool sized_pool thread_pools post_mortem arena \
    allocator unseen_unmap unseen_unmap_for_stacks unseen_close fd_pool fd_post_mortem \
    child_accounts; do
    innocent $scenario
done
options=reclaim=1:settle_ms=1000 innocent post_mortem_steady 1000
for last in /usr/lib/*/libjemalloc.so.2 /usr/lib64/libjemalloc.so.2; do
    [[ ! -e $last ]] || innocent allocator
done
[[ $wrong == '' ]] || fail "reclaim was wrong about:$wrong"
[[ $skipped == '' ]] || skip "$skipped"
