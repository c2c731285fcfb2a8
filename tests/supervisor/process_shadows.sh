# process_shadows.sh: files below --shadow are opened as sealed copies: mapped by the real dynamic
# linker, within cap and budget, told when they are stale; and each defect of theirs.
. "$(dirname "$0")/process.sh"

mkdir -m 755 "$work/files"
echo original >"$work/files/text"
chmod 666 "$work/files/text"
truncate -s 4M "$work/files/large"
chmod 644 "$work/files/large"

inside() { boxsup run --shadow="$work/files" "${options[@]}" -- "$@" >"$work/out" 2>"$work/err"; }
options=()

# errno FILE: what opening it fails with, or 0.
errno() {
    inside python3 -c '
import os, sys
try: os.open(sys.argv[1], os.O_RDONLY); print(0)
except OSError as error: print(os.strerror(error.errno))' "$1" || fail "status $?: $(<"$work/err")"
    echo "$(<"$work/out")"
}

reads() {
    inside cat "$work/files/text" "$work/files/../files/text" || fail "$(<"$work/err")"
    [[ $(<"$work/out") == $'original\noriginal' ]] || fail "${as[*]} read $(<"$work/out")"
    # A memfd, read-only, sealed, and not executable, and so is what is opened through it.
    inside python3 -c '
import errno, fcntl, os, subprocess, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
assert os.readlink(f"/proc/self/fd/{fd}").startswith("/memfd:"), "not a copy"
assert fcntl.fcntl(fd, fcntl.F_GET_SEALS) & 0xf == 0xf, "not sealed"
def refused(what):
    try: what()
    except OSError: return
    sys.exit(f"not refused: {what}")
refused(lambda: os.write(fd, b"x"))
refused(lambda: os.ftruncate(fd, 1))
refused(lambda: os.write(os.open(f"/proc/self/fd/{fd}", os.O_RDWR), b"x"))
refused(lambda: os.fchmod(fd, 0o755) or os.execve(fd, ["x"], {}))
refused(lambda: os.open(sys.argv[1], os.O_RDWR))
other = os.open(sys.argv[1], os.O_RDONLY)
os.read(other, 4)
assert os.read(fd, 100) == b"original\n", "two opens share an offset"
' "$work/files/text" || fail "${as[*]} $(<"$work/err")"
}
each_way reads

# What is read is a copy even when the path is changed while boxsup looks at it.
echo "the secret" >"$work/files/secret"
inside "$programs/swaps_paths" /etc/passwd "$work/files/text" "no such words" 5000 ||
    fail "status $?: $(<"$work/err")"

# The dynamic linker maps one.
library=$(ldconfig -p 2>/dev/null | sed -n 's/.*libz\.so\.1 .*=> //p' | head -n 1)
[[ -n $library ]] || library=$(echo /lib/*/libz.so.1)
cp "$library" "$work/files/libz.so.1"
inside env LD_LIBRARY_PATH="$work/files" python3 -c 'import ctypes
print(ctypes.CDLL("libz.so.1").crc32(0, b"abc", 3) & 0xffffffff)
print(any("/memfd:boxsup-shadow" in line and " r-xp" in line for line in open("/proc/self/maps")))' ||
    fail "$(<"$work/err")"
[[ $(<"$work/out") == $'891568578\nTrue' ]] || fail "the library: $(<"$work/out")"

# The cap, by option and by environment, and the budget, which opens of one file share.
[[ $(errno "$work/files/large") == 0 ]] || fail "4 MiB are too much"
options=(--shadow-cap=4M)
[[ $(errno "$work/files/large") == 0 ]] || fail "a file as large as the cap is refused"
options=(--shadow-cap=4095K)
[[ $(errno "$work/files/large") == "File too large" ]] || fail "over the cap: $(<"$work/out")"
options=(--shadow-budget=4095K)
[[ $(errno "$work/files/large") == "Cannot allocate memory" ]] || fail "budget: $(<"$work/out")"
options=(--shadow-budget=5M)
inside cat "$work/files/large" "$work/files/large" "$work/files/text" || fail "$(<"$work/err")"
cp "$work/files/large" "$work/files/second"
! inside cat "$work/files/large" "$work/files/second" || fail "8 MiB within a budget of 5"
options=()
BOXSUP_SHADOW_CAP=1M
export BOXSUP_SHADOW_CAP
[[ $(errno "$work/files/large") == "File too large" ]] || fail "the environment's cap"
options=(--shadow-cap=5M)
[[ $(errno "$work/files/large") == 0 ]] || fail "the option does not come after the environment"
BOXSUP_SHADOW_CAP=x
status=0
inside true || status=$?
[[ $status -eq $usage ]] || fail "a bad cap in the environment: status $status"
unset BOXSUP_SHADOW_CAP
options=(--shadow-budget=1000000G)
status=0
inside true || status=$?
[[ $status -eq $usage ]] || fail "a budget of more than the machine has: status $status"

# Staleness is told, once for each change, and never repaired.
stale='
import os, sys, time
fd = os.open(sys.argv[1], os.O_RDONLY)
open(sys.argv[2], "w").close()
while not os.path.exists(sys.argv[3]): time.sleep(0.01)
os.fstat(fd); os.fstat(fd); os.stat(sys.argv[1])
print(os.read(fd, 100))'
goes_stale() {
    rm -f "$work/w/"*
    mkdir -p "$work/w"
    echo original >"$work/files/text"
    inside_stale & # writes $work/err
    local i
    for ((i = 0; i < 500; i++)); do [[ ! -e $work/w/opened ]] || break; sleep 0.02; done
    echo "changed since" >"$work/files/text"
    touch "$work/w/changed"
    wait $! || fail "status $?: $(<"$work/err")"
    [[ $(<"$work/out") == "b'original\\n'" ]] || fail "not the snapshot: $(<"$work/out")"
}
inside_stale() {
    inside python3 -c "$stale" "$work/files/text" "$work/w/opened" "$work/w/changed"
}
options=(--write="$work/w")
mkdir "$work/w"
goes_stale
[[ $(grep -c "the shadow of $work/files/text is stale: modified .*; 9 bytes, now 14" "$work/err") \
    -eq 1 ]] || fail "told: $(<"$work/err")"
options+=(--defect=shadow-stale-silent)
goes_stale
[[ ! -s $work/err ]] || fail "shadow-stale-silent tells: $(<"$work/err")"

# The other two defects.
options=(--defect=shadow-unsealed)
inside python3 -c 'import os, sys; os.write(os.open(sys.argv[1], os.O_RDONLY), b"x")' \
    "$work/files/text" || fail "shadow-unsealed: cannot be written: $(<"$work/err")"
options=(--shadow-cap=1M --shadow-budget=1M --defect=shadow-unbounded)
[[ $(errno "$work/files/large") == 0 ]] || fail "shadow-unbounded: $(<"$work/out")"

# A sandbox's copies go with it: many sandboxes need no more than one of them.
boxsup churn --count=100 --jobs=2 --shadow="$work/files" --shadow-budget=9M -- \
    cat "$work/files/large" >"$work/out" 2>&1 || fail "$(tail -n 2 "$work/out")"
