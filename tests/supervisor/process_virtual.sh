# process_virtual.sh: what a sandbox is shown instead of the machine's, and that no way around it
# leads to the machine's own: .., links, /proc/self/root, a path that changes between check and use.
. "$(dirname "$0")/process.sh"

shows() {
    local got
    # What the shim says comes on stderr as well.
    got=$(boxsup run --cpus=7 --memory=1G --hostname=sandbox-name --seed=5 -- \
        sh -c "exec 2>&1; $1" 2>/dev/null) || true
    [[ $got == "$2" ]] || fail "${as[*]} $1: '$got', not '$2'"
}

views() {
    shows 'grep -c ^processor /proc/cpuinfo' 7
    shows 'grep -c "^cpu[0-9]" /proc/stat' 7
    shows 'sed -n "s/MemTotal: *//p" /proc/meminfo' '1048576 kB'
    shows 'cat /etc/hostname /proc/sys/kernel/hostname; uname -n' \
        $'sandbox-name\nsandbox-name\nsandbox-name'
    shows 'wc -l </proc/net/tcp; wc -l </proc/self/net/dev; wc -l </proc/thread-self/net/unix' \
        $'1\n2\n1'
    # The same file, however it is reached.
    shows 'cd /proc; grep -c ^processor cpuinfo; grep -c ^processor ../etc/../proc/./cpuinfo' \
        $'7\n7'
    ln -sfn /proc/cpuinfo "$work/link"
    ln -sfn /etc "$work/etc"
    shows "grep -c ^processor $work/link; cat $work/etc/hostname" $'7\nsandbox-name'
    # One's own, and nobody else's.
    shows 'cat /proc/self/comm; tr "\0" " " <"/proc/$$/comm"' $'cat\nsh'
    shows "head -c 1 /proc/$$/environ" \
        "head: cannot open '/proc/$$/environ' for reading: Permission denied"
}
views
if [[ $(id -u) -eq 0 ]]; then
    as=(setpriv --reuid=65534 --regid=65534 --clear-groups)
    views
fi
as=(env "LD_PRELOAD=$shim")
views
as=()

# Through /proc/self/root nothing of it opens at all.
shows 'cat /proc/self/root/proc/cpuinfo /proc/self/root/etc/hostname 2>&1 | grep -c denied' 2
shows 'cd /proc/self/cwd; exec 3</proc; cat /proc/self/fd/3/../proc/meminfo 2>&1 | grep -c denied' 1

# Nothing of them can be written.
shows 'exec 3<>/proc/cpuinfo' 'sh: 1: cannot create /proc/cpuinfo: Permission denied'
shows 'exec 3</etc/hostname; echo x >/proc/self/fd/3; cat /etc/hostname' \
    $'sh: 1: cannot create /proc/self/fd/3: Operation not permitted\nsandbox-name'

# The same seed, the same bytes, from all three sources; another seed, others.
draw='head -c 64 /dev/urandom; head -c 64 /dev/random; cat /proc/sys/kernel/random/uuid; python3 -c "
import os, sys; sys.stdout.buffer.write(os.getrandom(300))"'
for number in 1 2; do
    boxsup run --seed=11 -- sh -c "$draw" >"$work/random.$number"
done
boxsup run --seed=12 -- sh -c "$draw" >"$work/other"
[[ $(stat -c %s "$work/random.1") -eq 465 ]] || fail "not 465 random bytes"
cmp "$work/random.1" "$work/random.2" || fail "one seed, two sequences of bytes"
! cmp -s "$work/random.1" "$work/other" || fail "two seeds, one sequence of bytes"

# The C library gets no memory for random numbers without a call.
shows 'python3 -c "import ctypes
print(ctypes.CDLL(None).mmap(None, 4096, 3, 0x28, -1, 0))"' -1

# A path that another thread changes between check and use.
secret=$(</etc/hostname) || secret=
if [[ -n $secret ]] && ! grep -q "$secret" /etc/passwd; then
    boxsup run --hostname=sandbox-name -- \
        "$programs/swaps_paths" /etc/passwd /etc/hostname "$secret" 20000 >"$work/out" ||
        fail "past the check: $(<"$work/out")"
    [[ $(<"$work/out") == opened\ [1-9]* ]] || fail "nothing was ever opened: $(<"$work/out")"
fi
memory=$(sed -n 's/^\(MemTotal.*\)/\1/p' /proc/meminfo)
boxsup run --memory=1G -- \
    "$programs/swaps_paths" /etc/passwd /proc/meminfo "$memory" 20000 >"$work/out" ||
    fail "past the check: $(<"$work/out")"
# Outside, the same program finds it: it can fail.
! "$programs/swaps_paths" /etc/passwd /proc/meminfo "$memory" 20000 >"$work/out" ||
    fail "the attack does not work outside either"
