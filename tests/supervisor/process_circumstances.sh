# process_circumstances.sh: what has nothing to do with a sandbox has no say in what becomes of it:
# signals that were ignored before, a supervisor that is late, leases, names that come and go.
# shellcheck disable=SC2016
. "$(dirname "$0")/process.sh"

# Whoever started boxsup ignores SIGCHLD: the kernel would reap, and nobody knew how it had ended.
status=0
timeout -k 5 "$limit" python3 -c 'import os, signal, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
os.execv(sys.argv[1], sys.argv[1:])' "$boxsup" run -- false 2>"$work/err" || status=$?
[[ $status -eq 1 ]] || fail "with SIGCHLD ignored: status $status of false"

# A sandbox that has ended in time has, however late boxsup looks.
"$boxsup" run --timeout=2 -- sleep 0.4 2>"$work/err" &
late=$!
sleep 0.2
kill -STOP "$late"
sleep 2
kill -CONT "$late"
status=0
wait "$late" || status=$?
[[ $status -eq 0 ]] || fail "it ended in time, status $status: $(<"$work/err")"

# A file with a lease opens when that is given up, as for open(2).
mkdir -p "$work/files"
echo leased >"$work/files/leased"
head -c 3M /dev/zero >"$work/files/large"
chmod -R a+rX "$work/files"
cat >"$work/leases.py" <<'END'
import fcntl, os, signal, sys, time
fd = os.open(sys.argv[1], os.O_RDWR)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGIO])
fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print("leased", flush=True)
signal.sigwait([signal.SIGIO])
time.sleep(0.6)
fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
END
# under_lease OPTION... -- COMMAND...: prints its output
under_lease() {
    coproc leases { exec python3 "$work/leases.py" "$work/files/leased" 2>"$work/err"; }
    # shellcheck disable=SC2154
    local lessee=$leases_PID
    read -r _ <&"${leases[0]}" || skip "no lease is to be had: $(tail -n 1 "$work/err")"
    boxsup run "$@" 2>&1 || true
    kill "$lessee" 2>/dev/null || true
    wait "$lessee" || true
}
got=$(under_lease --shadow="$work/files" -- cat "$work/files/leased")
[[ $got == leased ]] || fail "a shadow of a file with a lease: $got"
got=$(under_lease --cow="$work/files" -- sh -c 'echo more >>"$0" && cat "$0"' "$work/files/leased")
[[ $got == $'leased\nmore' ]] || fail "a copy of a file with a lease: $got"

# What vanishes beside a file while its directory is looked at is not missed.
python3 -c 'import os, sys
while True:
    for name in range(20):
        os.symlink("nowhere", sys.argv[1] + str(name))
    for name in range(20):
        os.unlink(sys.argv[1] + str(name))' "$work/files/comes-and-goes" 2>"$work/err" &
flutters=$!
for _ in {1..60}; do
    got=$(boxsup run --cow="$work/files" -- cat "$work/files/leased" 2>&1) || true
    [[ $got == leased ]] || fail "beside a name that comes and goes: $got"
done
kill "$flutters" 2>/dev/null || fail "it stood still: $(<"$work/err")"
wait "$flutters" || true

# A process whose parent dies at that moment is inside all the same.
got=$(boxsup run -- python3 -c 'import os, signal, time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
read, write = os.pipe()
for i in range(300):
    first = os.fork()
    if first == 0:
        if os.fork() == 0:
            try:
                for j in range(30):
                    os.close(os.open("/proc/self/status", os.O_RDONLY))
                os.write(write, b".")
            except OSError as why:
                os.write(write, b"!")
            os._exit(0)
        time.sleep(0.0005)
        os._exit(0)
    time.sleep(0.001)
print(b"".join(os.read(read, 1) for i in range(300)).count(b"!"))' 2>&1)
[[ $got == 0 ]] || fail "orphans that were not let into /proc/self: $got of 300"

# An answer is written into memory that is only filled when it is touched.
got=$(boxsup run --hostname=sandbox-name --shadow="$work/files" --shadow-lazy -- python3 -c '
import ctypes, mmap, os, sys
libc = ctypes.CDLL(None, use_errno=True)
fd = os.open(sys.argv[1], os.O_RDONLY)
memory = mmap.mmap(fd, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
untouched = (ctypes.c_char * 4096).from_buffer(memory, 1 << 20)
print(libc.uname(untouched), untouched.raw[65:77])' "$work/files/large" 2>&1)
[[ $got == "0 b'sandbox-name'" ]] || fail "uname into a page that was not touched: $got"
