# code_replaced.sh: other code at the address of unloaded code (promises 7, 8).
. "$(dirname "$0")/harness.sh"
both code_replaced
