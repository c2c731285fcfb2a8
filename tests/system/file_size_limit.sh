# file_size_limit.sh: a program under RLIMIT_FSIZE gets no SIGXFSZ from the ledger (DESIGN 2).
. "$(dirname "$0")/harness.sh"
both memory_limits files "$work"
# ... nor when the limit is there from the start and leaves no room for any ledger.
ulimit -f 100
shimmed allocator >"$work/out" 2>"$work/err" || true # no ledger: its own checks cannot be done
grep -q -i boxledger "$work/err" || fail "no warning that there is no ledger"
LD_PRELOAD=$shim "$programs/allocator" - >"$work/out" 2>"$work/err" || fail "in anonymous memory: $?"
