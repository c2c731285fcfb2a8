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
printf '#! /bin/sh\necho $0 $*\n' >"$root/directory/script"
ln -s /directory/script "$root/directory/linked"
chmod 755 "$root/directory/script"
echo text >"$root/directory/nothing"
# One that needs no linker, and one whose linker nobody has outside.
cat >"$work/alone.c" <<'EOF'
#include <stdio.h>
int main(int argc, char **argv)
{
    if (argc < 4)
        return puts("alone inside") < 0;
    return printf("with a linker of its own: %s %s\n", argv[2], argv[4]) < 0;
}
EOF
gcc -O1 -static -o "$root/directory/alone" "$work/alone.c" 2>"$work/err" ||
    skip "no static programs can be made: $(tail -n 1 "$work/err")"
cp "$root/directory/alone" "$root/directory/linker"
gcc -O1 -Wl,--dynamic-linker=/directory/linker -o "$root/directory/other" "$work/alone.c"
# A shell and what it needs.
programs_of() { ldd "$1" | grep -o '/[^ ]*'; }
for file in /bin/cat /bin/sh /usr/bin/stat /usr/bin/readlink $(programs_of /bin/cat) \
    $(programs_of /usr/bin/stat) $(programs_of /bin/sh) "$programs/swaps_paths" \
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
    shows "cd /; cat .$work/outside; pwd" $'the same path inside\n/'
    # Whoever asks is told of the same files, and the process is where it thinks it is.
    shows 'cd directory/below; pwd; cd ../../etc; pwd; cd /directory; cd /..; pwd' \
        $'/directory/below\n/etc\n/'
    shows 'stat -c "%n %s" /etc/passwd ../../etc/passwd; stat -c %F directory/passwd' \
        $'/etc/passwd 7\n../../etc/passwd 7\nsymbolic link'
    shows "stat -c %s $work/outside /etc/shadow" \
        $'21\nstat: cannot statx \'/etc/shadow\': No such file or directory'
    shows 'readlink directory/passwd; [ -r /etc/passwd ] && [ ! -w /etc/passwd ] && [ ! -e /usr/bin/env ] &&
        echo so' $'/etc/passwd\nso'
    # Programs and their linkers are those inside, scripts, too, and so is what they are called.
    shows '/directory/script one two; cd directory; ./script; ./linked' \
        $'/directory/script one two\n./script\n./linked'
    shows '/bin/id' '/bin/sh: 1: /bin/id: not found'
    shows '/directory/nothing' '/bin/sh: 1: /directory/nothing: Permission denied'
    shows '/directory/alone' 'alone inside'
    shows '/directory/other one' 'with a linker of its own: /directory/other one'
    shows 'cat directory/pipe' 'cat: directory/pipe: Permission denied'
    shows 'echo x >directory/new' '/bin/sh: 1: cannot create directory/new: Read-only file system'
    shows 'echo x >/dev/null; read -r number rest </proc/self/stat; [ $number = $$ ] && echo own' own
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

# The kernel takes back a `..` below a root while anything is renamed anywhere: nobody inside is told.
python3 -c 'import os, sys
while True:
    os.rename(sys.argv[1], sys.argv[2])
    os.rename(sys.argv[2], sys.argv[1])' "$root/directory/nothing" "$root/directory/renamed" 2>"$work/err" &
renames=$!
dots=$(printf '../%.0s' {1..100})
boxsup run --root=/ -- python3 -c 'import os, sys
for i in range(3000):
    os.close(os.open(sys.argv[1], os.O_RDONLY))' "${dots}etc/passwd" >"$work/out" 2>&1 ||
    fail "among renames: $(tail -n 1 "$work/out")"
kill "$renames" 2>/dev/null || fail "the renames ended: $(<"$work/err")"
wait "$renames" || true

# Nothing depends on what a process can find out: the mark of calls that boxsup has it make again.
cp "$programs/knows_mark" "$root/directory"
for file in /etc/shadow /etc/hostname "$work/only"; do
    echo outside >"$work/only"
    boxsup run --root="$root" -- /directory/knows_mark /directory "$file" >"$work/out" 2>&1 ||
        fail "status $?: $file: $(<"$work/out")"
done

# Its call site of addfd-leak.
status=0
(ulimit -n 64 && boxsup churn --root="$root" --defect=addfd-leak-root -- /bin/cat /etc/passwd) \
    >"$work/out" 2>&1 || status=$?
[[ $status -eq $failed ]] || fail "addfd-leak-root: status $status"
(ulimit -n 64 && boxsup churn --count=100 --root="$root" -- /bin/cat /etc/passwd) \
    >"$work/out" 2>&1 || fail "without the defect: $(tail -n 1 "$work/out")"

# The whole of what is outside is a root, too: real programs find themselves and their files.
boxsup run --root=/ --directory=/etc -- sh -ec 'pwd; gcc --version | head -n 1; git --version
python3 -c "import os, json, subprocess
fd = os.open(\"/etc\", os.O_PATH | os.O_DIRECTORY)
print(os.path.samestat(os.fstat(fd), os.stat(\".\")), os.listdir(\"/\") == os.listdir(\"..\"))
print(subprocess.run([\"echo\", \"child\"], capture_output=True).stdout)"
cd /usr/lib; ls -d ../bin; head -c 4 /etc/passwd' >"$work/out" 2>&1 || fail "$(<"$work/out")"
[[ $(<"$work/out") == "/etc
$(gcc --version | head -n 1)
$(git --version)
True True
b'child\n'
../bin
$(head -c 4 /etc/passwd)" ]] || fail "$(<"$work/out")"
