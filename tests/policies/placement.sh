# placement.sh: a sandbox's mappings are in windows of its own, wherever that helps and nowhere else:
# what the caller asks for it gets, errors are the kernel's, and no address space is used up for it.
# shellcheck source=tests/system/harness.sh disable=SC2154
. "$(dirname "$0")/../system/harness.sh"
programs=${BOXLEDGER_POLICY_PROGRAMS:-$build/tests/policies}

# placed ARGUMENTS...
placed() {
    local got=0
    shimmed placement "$@" || got=$?
    [[ $got -eq 0 || $got -eq 77 ]] || fail "${options:-nothing on}: $*: status $got"
}
options=placement
placed places
placed asked
placed storm
placed filter
options=placement:rescue:reclaim:limit_vmas=100000:reserve_vmas=10:limit_fds=10:reserve_fds=2
placed asked
placed storm
options=''
placed plain
placed storm

# Windows are addresses, not memory: as much can be mapped as without, but for two small tables.
without=$(placed memory 2>"$work/err")
options=placement
with=$(placed memory 2>"$work/err")
((with >= without - 8)) || fail "of $without MiB only $with can be mapped with placement"

# The base is another each time, unless the process asked for none of that.
for _ in 1 2 3 4; do placed first; done 2>"$work/err" | sort -u >"$work/first"
[[ $(wc -l <"$work/first") -ge 3 ]] || fail "the base does not vary: $(cat "$work/first")"
if command -v setarch >"$work/out" && setarch -R true 2>"$work/err"; then
    for _ in 1 2 3; do
        setarch -R env BOXLEDGER_OPTIONS=placement LD_PRELOAD="$shim" "$programs/placement" - first
    done 2>"$work/err" | sort -u >"$work/first"
    [[ $(wc -l <"$work/first") -eq 1 ]] || fail "the base varies: $(cat "$work/first")"
fi

# Beside the sanitizers' shadows: ThreadSanitizer ends a program with a mapping where none may be.
if [[ $long == 1 ]] && command -v gcc >"$work/out"; then
    for kind in address thread; do
        runtime=$(gcc -print-file-name=lib"${kind:0:1}"san.so)
        gcc -std=gnu17 -D_GNU_SOURCE -fsanitize=$kind -I"$source/src" -o "$work/sanitized" \
            "$source"/tests/policies/placement.c "$source"/tests/system/system.c \
            "$source"/tests/truth/{kernel,ledger}_view.c -lpthread 2>"$work/err" || continue
        for mode in places asked storm; do
            timeout -k 5 "$limit" env BOXLEDGER_OPTIONS=placement LD_PRELOAD="$runtime:$shim" \
                "$work/sanitized" - $mode 2>"$work/err" || fail "$kind: $mode: $(head -3 "$work/err")"
        done
    done
fi
