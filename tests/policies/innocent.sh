# innocent.sh: reclaim takes nothing from a supervisor that only seems to leak: pools that lie idle,
# what is kept to be looked at, releases that no wrapper sees. What does leak is taken.
# With arguments: only those scenarios.
# shellcheck source=tests/system/harness.sh disable=SC2154
. "$(dirname "$0")/../system/harness.sh"
programs=${BOXLEDGER_POLICY_PROGRAMS:-$build/tests/policies}
settle_ms=100
options=reclaim=1:settle_ms=$settle_ms
wanted="$*" skipped='' wrong=''
# Where something is broken on purpose, one of each kind shows it as well as all.
[[ -z $fault || -n $wanted ]] || wanted='leak_memory idle_pool post_mortem fd_pool'

# innocent SCENARIO [SETTLE_MS [KIND]]: beside others, each with a ledger of its own. They sleep most
# of the time.
innocent() {
    local name=$1${3:+ of $3}${last:+ with ${last##*/}}
    [[ -z $wanted || " $wanted " == *" $1 "* ]] || return 0
    count=$((count + 1))
    (
        ledger=$work/ledger.$count status=0
        shimmed innocent "$1" "${2:-$settle_ms}" "${3:-anonymous}" >"$work/out.$count" 2>&1 ||
            status=$?
        echo "$status $name" >"$work/status.$count"
    ) &
    [[ $((count % AT_ONCE)) -ne 0 ]] || wait
}

AT_ONCE=6 count=0
for scenario in leak_memory idle_pool sized_pool thread_pools post_mortem arena; do
    innocent $scenario '' memfd
    innocent $scenario '' file
done
for scenario in leak_fds idle_pool allocator assigned_heap lazily_in_scope unseen_unmap \
    unseen_unmap_for_stacks unseen_close fd_pool fd_post_mortem child_accounts; do
    innocent $scenario
done
options=reclaim=1:settle_ms=1000 innocent post_mortem_steady 1000 memfd
for last in /usr/lib/*/libjemalloc.so.2 /usr/lib64/libjemalloc.so.2; do
    [[ ! -e $last ]] || innocent allocator
    [[ ! -e $last ]] || innocent assigned_heap
done
wait
for ((i = 1; i <= count; i++)); do
    read -r status name <"$work/status.$i" || status=127
    case $status in
    0) echo "$name: well" ;;
    77) skipped="$name: $(sed -n 's/^skip: //p' "$work/out.$i" | tail -n 1)" ;;
    *)
        cat "$work/out.$i"
        echo "$name: status $status"
        wrong="$wrong, $name"
        ;;
    esac
done
[[ $wrong == '' ]] || fail "reclaim was wrong about${wrong#,}"
[[ $skipped == '' ]] || skip "$skipped"
