# inherited.sh: descriptors from before the shim are in the ledger, as inherited (promise 8).
. "$(dirname "$0")/harness.sh"
both inherited 5 9 700 5</dev/null 9<"$0" 700</dev/null
