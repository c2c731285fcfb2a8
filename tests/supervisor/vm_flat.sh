# vm_flat.sh: 10,000 VMs in one process (100,000 in the long form): from the 1,000th on,
# descriptors, VMAs and resident memory stay as they are.
. "$(dirname "$0")/vm.sh"
need_kvm

count=10000 seconds=1500
[[ $long -eq 0 ]] || count=100000 seconds=7500
# Some allocator's slack; a page a sandbox would be 36,000.
slack_kib=1024

timeout -k 5 $seconds "$driver" churn $count 2 >"$work/said" || fail "churn: status $?"
cat "$work/said"
field() { sed -n "s/^done=$1 .*\b$2=\([0-9]*\).*/\1/p" "$work/said"; }
for what in fds vmas; do
    [[ $(field 1000 $what) -eq $(field $count $what) ]] || fail "$what grow"
done
(($(field $count rss_kib) <= $(field 1000 rss_kib) + slack_kib)) || fail "resident memory grows"
