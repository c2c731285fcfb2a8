# vm_churn.sh: `boxsup churn` runs VMs, and VMs and processes in turns, says what it holds, and takes
# each defect of theirs to its end.
. "$(dirname "$0")/vm.sh"
need_kvm
boxsup=$build/boxsup
status=0
"$boxsup" run -- true 2>"$work/err" || status=$?
[[ $status -eq 0 ]] || skip "$(<"$work/err")"

figures='[0-9]+ per second, 0 live, ([0-9]+) descriptors, ([0-9]+) VMAs, [0-9]+ KiB resident$'
for kind in vm mixed; do
    timeout -k 5 "$limit" "$boxsup" churn --kind=$kind --count=2000 --jobs=4 >"$work/out" ||
        fail "$kind: status $?"
    [[ $(grep -E "^1000 done.* 0 live" "$work/out") =~ $figures ]] || fail "$kind: $(<"$work/out")"
    warm=("${BASH_REMATCH[@]:1}")
    [[ $(tail -n 1 "$work/out") =~ ^2000\ done,\ $figures ]] || fail "$kind: $(<"$work/out")"
    [[ ${warm[*]} == "${BASH_REMATCH[*]:1}" ]] || fail "$kind: grows: $(<"$work/out")"
done

# ends DEFECT PATTERN
ends() {
    local status=0
    timeout -k 5 "$limit" "$boxsup" churn --kind=vm --count=1200 --defect="$1" \
        >"$work/out" 2>"$work/err" || status=$?
    [[ $status -eq $failed ]] || fail "$1: status $status"
    [[ $(wc -l <"$work/err") -eq 1 ]] || fail "$1: not one line: $(<"$work/err")"
    grep -qE "$2" "$work/err" || fail "$1: not its end: $(<"$work/err")"
}
(
    # More than the churn needs, less than the defects do.
    ulimit -v 65536
    timeout -k 5 "$limit" "$boxsup" churn --kind=vm --count=1200 >"$work/out" ||
        fail "without a defect: status $?"
    for defect in cow-map-leak slot-only-unmap restore-leak; do
        ends $defect "Cannot allocate memory"
    done
    ends shared-gap-hints "guest address of a mapped file is 0x[0-9a-f]+ where 0x[0-9a-f]+ is right"
) || exit 1
ends merge-trap "munmap of 4096 bytes: Cannot allocate memory"
