# failed_calls.sh: the ledger after calls that failed (promise 2).
. "$(dirname "$0")/harness.sh"
both failed_calls
