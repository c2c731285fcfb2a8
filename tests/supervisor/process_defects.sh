# process_defects.sh: each defect of process sandboxes, by itself, reaches its documented end, and
# without it the same run does not.
. "$(dirname "$0")/process.sh"

# Few descriptors: the end comes soon.
descriptors=64
churn() { (ulimit -n $descriptors && boxsup churn --count=200 "$@") >"$work/out" 2>"$work/err"; }

# The same work without the defect needs no more than it has.
mkdir -m 777 "$work/directory"
churn || fail "without a defect: $(<"$work/err")"
churn --root=/ -- cat /etc/passwd || fail "without a defect, --root: $(<"$work/err")"
churn --root=/ -- ls / || fail "without a defect, --root and directories: $(<"$work/err")"
churn --cow="$work/directory" -- cp /etc/passwd "$work/directory/copy" ||
    fail "without a defect, --cow: $(<"$work/err")"
for variant in addfd-leak addfd-leak-proc addfd-leak-hostname addfd-leak-random addfd-leak-root \
    addfd-leak-root-directory addfd-leak-cow; do
    status=0
    churn --kind=process --defect=$variant || status=$?
    [[ $status -eq $failed ]] || fail "$variant: status $status, not $failed"
    grep -q "Too many open files" "$work/err" || fail "$variant: not for want of descriptors"
    [[ $(tail -n 1 "$work/out") =~ \ ([0-9]+)\ descriptors ]]
    ((BASH_REMATCH[1] > descriptors / 2)) || fail "$variant: only ${BASH_REMATCH[1]} descriptors"
done
# Each is of one place only: what the others' sandboxes do leaks nothing of it.
for variant in proc hostname random; do
    churn --defect=addfd-leak-$variant --root=/ -- cat /etc/passwd || fail "$variant leaks under --root"
done
churn --defect=addfd-leak-root-directory --root=/ -- cat /etc/passwd || fail "a directory's leaks a file"
churn --defect=addfd-leak-root --cow="$work/directory" -- \
    cp /etc/passwd "$work/directory/copy" || fail "the root's leaks in --cow"

# A descriptor of the supervisor's in the sandbox.
list='import os; print(len(os.listdir("/proc/self/fd")) - 1)'
[[ $(boxsup run -- python3 -c "$list") -eq 3 ]] || fail "more than three without a defect"
[[ $(boxsup run --defect=pipe-no-cloexec -- python3 -c "$list") -gt 3 ]] ||
    fail "pipe-no-cloexec: nothing is inherited"

# The reason why a command did not start is lost, and nobody says anything.
printf 'neither a program nor a script' >"$work/nothing"
chmod 755 "$work/nothing"
status=0
boxsup run -- "$work/nothing" 2>"$work/err" || status=$?
[[ $status -eq $not_executable && -s $work/err ]] || fail "without a defect: status $status"
status=0
boxsup run --defect=short-read -- "$work/nothing" 2>"$work/err" || status=$?
[[ $status -ne $not_executable && ! -s $work/err ]] ||
    fail "short-read: status $status: $(<"$work/err")"

"$boxsup" defects >"$work/out"
for name in addfd-leak pipe-no-cloexec short-read cow-map-leak; do
    grep -qE "^$name +F[1-5]  ." "$work/out" || fail "no row for $name"
done
