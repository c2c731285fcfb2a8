# growing.sh: a leak that no rule ties to a sandbox is found by its rate; what only seems to grow, a
# cache, a pool, a heap that is swept, a log a day, more sandboxes at a time, is not accused.
# shellcheck source=tests/system/harness.sh disable=SC2154
. "$(dirname "$0")/../system/harness.sh"
need_command
need_tool python3
# What leaks here, leaks 2,800 descriptors.
if [[ $(ulimit -Sn) != unlimited && $(ulimit -Sn) -lt 4096 ]]; then
    ulimit -Sn 4096 2>/dev/null || skip "no more than $(ulimit -Hn) descriptors may be open"
fi
export BOXLEDGER_BUILD=$build BOXLEDGER_SOURCE=$source BOXLEDGER_SHIM=$shim BOXLEDGER_FAULT=$fault
python3 "$(dirname "$0")/judge.py" growth
