# memory_locked.sh: mlockall(MCL_FUTURE) does not make a ledger of gigabytes resident (DESIGN 2).
. "$(dirname "$0")/harness.sh"
both memory_limits lock
