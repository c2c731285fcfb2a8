# together.sh: threads that need more of a table at one moment make one piece of it, not one each.
# shellcheck source=tests/system/harness.sh disable=SC2154
. "$(dirname "$0")/../system/harness.sh"
programs=${BOXLEDGER_SIZE_PROGRAMS:-$build/tests/size}
ulimit -n 4096 2>/dev/null || [[ $(ulimit -n) -ge 2048 ]] || skip "2,048 descriptors cannot be had"
both together
