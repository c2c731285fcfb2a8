# process_boundaries.sh: what a sandbox can and cannot do: files, descriptors, signals, sockets,
# namespaces, and what it inherits.
. "$(dirname "$0")/process.sh"

mkdir -m 777 "$work/writable" "$work/other"
echo kept >"$work/other/file"
chmod 666 "$work/other/file"

denied() {
    boxsup run --write="$work/writable" "${options[@]}" -- sh -c "$1" >"$work/out" 2>&1 &&
        fail "${as[*]} ${options[*]}: not denied: $1"
    return 0
}
permitted() {
    boxsup run --write="$work/writable" "${options[@]}" -- sh -c "$1" >"$work/out" 2>&1 ||
        fail "${as[*]} ${options[*]}: not permitted: $1: $(<"$work/out")"
}

files() {
    permitted "cd $work/writable && mkdir -p d && echo x >d/f && mv d/f d/g && rm -r d"
    permitted "echo x >/dev/null; head -c 1 /dev/zero; cat $work/other/file"
    denied "echo x >$work/other/new"
    denied "echo x >$work/other/file"
    denied "rm $work/other/file"
    denied "mv $work/other/file $work/writable/file"
    denied "ln $work/other/file $work/writable/file && echo x >$work/writable/file"
    denied "ln -sfn $work/other $work/writable/l && echo x >$work/writable/l/file"
    denied "echo x >$work/writable/../other/file"
    denied "echo x >/proc/self/root$work/other/file"
    denied "python3 -c 'import os; os.truncate(\"$work/other/file\", 0)'"
    denied "python3 -c 'import os; os.open(\"$work/other/file\", os.O_RDONLY | os.O_TRUNC)'"
    denied "chmod 777 $work/other/file"
    denied "touch -d 2001-01-01 $work/other/file"
    denied "chown \$(id -u) $work/other/file"
    denied "python3 -c 'import os; os.fchmod(os.open(\"$work/other/file\", os.O_RDONLY), 0)'"
    denied "python3 -c 'import os; os.utime(os.open(\"$work/other/file\", os.O_RDONLY))'"
    denied "chmod 777 $work/writable/../other/file"
    denied "ln -sfn $work/other $work/writable/l && chmod 777 $work/writable/l/file"
    permitted "cd $work/writable && echo x >m && chmod 751 m &&
        [ \$(stat -c %a m) = 751 ] && touch -d 2001-01-01 m && [ \$(stat -c %Y m) -lt 1000000000 ] &&
        chown \$(id -u) m && rm m && mkdir -p d && touch d && rmdir d"
    [[ $(<"$work/other/file") == kept ]] || fail "the file has changed"
    [[ $(stat -c %a "$work/other/file") == 666 ]] || fail "the file's mode has changed"
}
options=()
each_way files
# An older Landlock, whose gaps the filter closes.
options=(--landlock=1)
denied "python3 -c 'import os; os.truncate(\"$work/other/file\", 0)'"
denied "python3 -c 'import os; os.open(\"$work/other/file\", os.O_RDONLY | os.O_TRUNC)'"
denied "echo x >$work/other/file"
[[ $(<"$work/other/file") == kept ]] || fail "changed under Landlock's first version"
grep -q "of version 1 here" "$work/out" || fail "boxsup does not say what is missing"
options=()

# Nothing but the standard descriptors comes in, whoever left others open.
inherited() {
    boxsup run -- python3 -c 'import os; print(sorted(os.listdir("/proc/self/fd")))' \
        5</dev/null 8>&1 9<"$work" >"$work/out" 2>"$work/err" || fail "status $?: $(<"$work/err")"
    # The fourth is that of listdir itself.
    [[ $(<"$work/out") == "['0', '1', '2', '3']" ]] || fail "${as[*]} inside: $(<"$work/out")"
}
each_way inherited
boxsup run -- sh -c 'test ! -e /proc/self/fd/0 || test -c /proc/self/fd/0' <&- ||
    fail "with stdin closed something of the supervisor's has its number"

outside() {
    denied "kill -0 $$"
    denied "kill -0 \$PPID"
    denied "python3 -c 'import socket; socket.socket()'"
    denied "python3 -c 'import socket; socket.socket(socket.AF_UNIX)'"
    permitted "python3 -c 'import socket; socket.socketpair()'"
    denied "unshare -U true"
    denied "python3 -c 'import ctypes; l = ctypes.CDLL(None); exit(l.prctl(36, 0, 0, 0, 0) != 0)'"
    permitted "grep -q '^NoNewPrivs:.1' /proc/self/status"
}
each_way outside
options=(--network)
permitted "python3 -c 'import socket; socket.socket()'"
options=()

# Of memory it has what was given to it.
denied='bytearray(300 << 20)'
boxsup run --memory=100M -- python3 -c "$denied" 2>"$work/err" && fail "300 MiB within 100"
grep -q MemoryError "$work/err" || fail "not for want of memory: $(<"$work/err")"
boxsup run --memory=1G -- python3 -c "$denied" || fail "not 300 MiB within 1 GiB"
