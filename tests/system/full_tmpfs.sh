# full_tmpfs.sh: a ledger on a tmpfs that fills up, or is full from the start: the program is
# unharmed and the ledger says that it is incomplete (DESIGN 2).
. "$(dirname "$0")/harness.sh"
if [[ ${IN_NAMESPACE:-} != yes ]]; then
    mine=(-m)
    [[ $(id -u) -eq 0 ]] || mine+=(-r)
    unshare "${mine[@]}" true 2>/dev/null || skip "no private mount namespace to be had"
    export IN_NAMESPACE=yes ${fault:+BOXLEDGER_FAULT="$fault"}
    rm -rf "$work"
    exec unshare "${mine[@]}" bash "$0"
fi
mkdir "$work/small"
mount -t tmpfs -o size=1500k none "$work/small" || skip "no tmpfs can be mounted"
trap 'umount -l "$work/small"; rm -rf "$work"' EXIT
bare memory_limits full "$work/small" || fail "bare: status $?"
rm -f "$work/small"/*
ledger=$work/small/ledger
shimmed memory_limits full "$work/small" || fail "filled up: status $?"
rm -f "$work/small"/*
head -c 1400k /dev/zero >"$work/small/filler"
got=0
shimmed results_same "$work" </dev/null >"$work/out" 2>"$work/err" || got=$?
[[ $got -eq 0 ]] || fail "no room from the start: status $got"
grep -q -i boxledger "$work/err" || fail "no warning that there is no room for a ledger"
