# vm_defects.sh: each defect by itself takes a churn of VMs to its documented end, under a limit
# that the same churn keeps without it.
. "$(dirname "$0")/vm.sh"
need_kvm

count=1200
address_space_kib=65536

# ends DEFECT PATTERN: the churn fails, and says that.
ends() {
    local status=0
    timeout -k 5 "$limit" "$driver" churn $count 1 "$1" >"$work/out" 2>"$work/err" || status=$?
    echo "$1: $(<"$work/out") $(<"$work/err")"
    [[ $status -eq $failed ]] || fail "$1: status $status"
    grep -qE "$2" "$work/err" || fail "$1: not its end"
}

(
    ulimit -v $address_space_kib
    timeout -k 5 "$limit" "$driver" churn $count 1 >"$work/out" ||
        fail "without a defect: status $?"
    # F1
    for defect in cow-map-leak slot-only-unmap restore-leak; do
        ends $defect "mmap of [0-9]+ bytes: Cannot allocate memory"
    done
    # F2
    ends shared-gap-hints "guest address of a mapped file is 0x[0-9a-f]+ where 0x[0-9a-f]+ is right"
) || exit 1
# F3
ends merge-trap "the end of sandbox [0-9]+: munmap of 4096 bytes: Cannot allocate memory"
