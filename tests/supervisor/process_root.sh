# process_root.sh: under --root files are opened as after chroot, and nothing leads out: neither ..,
# nor links, nor /proc/self/root, nor a path that changes between check and use.
# shellcheck disable=SC2016
. "$(dirname "$0")/process.sh"

root=$work/root
mkdir -p "$root/etc" "$root/proc" "$root/directory/below"
echo "outside" >"$work/outside"
echo "inside" >"$root/etc/passwd"
echo "below" >"$root/directory/below/file"
ln -s ../../../../../../../../.."$work/outside" "$root/directory/up"
ln -s "$work/outside" "$root/directory/absolute"
ln -s /etc/passwd "$root/directory/passwd"
ln -s /proc/self/root "$root/directory/magic"
mkfifo "$root/directory/pipe"
mkdir -p "$root$work"
echo "the same path inside" >"$root$work/outside"
# A shell and what it needs.
programs_of() { ldd "$1" | grep -o '/[^ ]*'; }
for file in /bin/cat /bin/sh $(programs_of /bin/cat) $(programs_of /bin/sh) \
    $(programs_of "$programs/swaps_paths"); do
    mkdir -p "$root$(dirname "$file")"
    cp "$(realpath "$file")" "$root$file"
done
chmod -R a+rX "$work"

# shows COMMAND OUTPUT
shows() {
    local got
    got=$(boxsup run --root="$root" "${options[@]}" -- /bin/sh -c "exec 2>&1; $1" 2>/dev/null) || true
    [[ $got == "$2" ]] || fail "${as[*]} $1: '$got', not '$2'"
}
options=()
views() {
    shows 'read line </etc/passwd; echo $line' inside
    shows 'cat /etc/passwd ../../../../etc/passwd /../../etc/passwd' $'inside\ninside\ninside'
    shows 'cd directory/below; cat file; cat ../passwd' $'below\ninside'
    # Whatever leads up or elsewhere ends inside.
    shows 'cat directory/up' 'the same path inside'
    shows 'cat directory/absolute' 'the same path inside'
    shows "cat $work/outside" 'the same path inside'
    shows 'cat directory/magic/etc/passwd' \
        'cat: directory/magic/etc/passwd: No such file or directory'
    shows 'cat /proc/self/root/etc/passwd' 'cat: /proc/self/root/etc/passwd: No such file or directory'
    shows "cat /proc/..$work/outside" "the same path inside"
    shows "cd /; cat .$work/outside" "cat: .$work/outside: Permission denied"
    shows 'cat directory/pipe' 'cat: directory/pipe: Permission denied'
    shows 'echo x >directory/new' '/bin/sh: 1: cannot create directory/new: Read-only file system'
    shows 'echo x >/dev/null; cat /proc/self/comm' cat
}
views
if [[ $(id -u) -eq 0 ]]; then
    as=(setpriv --reuid=65534 --regid=65534 --clear-groups)
    views
    as=()
fi
options=(--hostname=sandbox-name --cpus=3)
shows 'cat /etc/hostname; cat /proc/cpuinfo | { n=0; while read -r word rest; do
    [ "$word" = processor ] && n=$((n + 1)); done; echo $n; }' $'sandbox-name\n3'
[[ ! -e $root/directory/new ]] || fail "it wrote"

boxsup run --root="$root" -- "$programs/swaps_paths" /etc/passwd "/proc/..$work/outside" \
    outside 20000 >"$work/out" 2>&1 || fail "past the check: $(<"$work/out")"
[[ $(<"$work/out") == opened\ [1-9]* ]] || fail "nothing was ever opened: $(<"$work/out")"

# Its call site of addfd-leak.
status=0
(ulimit -n 64 && boxsup churn --root="$root" --defect=addfd-leak-root -- /bin/cat /etc/passwd) \
    >"$work/out" 2>&1 || status=$?
[[ $status -eq $failed ]] || fail "addfd-leak-root: status $status"
(ulimit -n 64 && boxsup churn --count=100 --root="$root" -- /bin/cat /etc/passwd) \
    >"$work/out" 2>&1 || fail "without the defect: $(tail -n 1 "$work/out")"
