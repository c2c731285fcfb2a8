# truth.sh: the ledger equals the kernel at every checkpoint of a random run, on 1 and 4 threads.
. "$(dirname "$0")/harness.sh"
truth=${BOXLEDGER_TRUTH:-$build/tests/truth/truth}
# The same operations in every short run; a long one draws its own and prints what it drew.
ops=200000 limit=300 seed=${TRUTH_SEED:-20261121}
[[ $long != 0 ]] && ops=10000000 limit=3600 seed=${TRUTH_SEED:-}
mkdir "$work/files"
for threads in 1 4; do
    rm -f "$ledger"
    timeout -k 5 "$limit" env ${fault:+"BOXLEDGER_FAULT=$fault"} \
        BOXLEDGER_OPTIONS="ledger=$ledger" LD_PRELOAD="$shim" \
        "$truth" ${seed:+--seed="$seed"} --ops=$ops --threads=$threads \
        "$ledger" "$work/files" 2>"$work/err" || { cat "$work/err" >&2; fail "$threads threads"; }
done
