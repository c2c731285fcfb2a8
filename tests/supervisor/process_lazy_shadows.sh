# process_lazy_shadows.sh: with --shadow-lazy a large file's copy is filled when it is read, by call
# or by page fault: every byte that is seen is the file's, whichever way it is reached and whatever
# the kernel permits, and nothing of how it is done stays, inside or outside.
. "$(dirname "$0")/process.sh"
cp "$source/tests/supervisor/lazy_shadows.py" "$work" # others read it, too

mkdir -m 755 "$work/files"
mkdir -m 777 "$work/w"
head -c $(((8 << 20) + 123)) /dev/urandom >"$work/expected"
chmod 644 "$work/expected"
cp "$work/expected" "$work/files/one"
cp "$work/expected" "$work/files/two"
library=$(echo /lib/*/libz.so.1)
cp "$(realpath "$library")" "$work/files/libz.so.1"
truncate -s 2M "$work/files/libz.so.1"
chmod 644 "$work/files/"*
sleep 3 # what has changed just now is copied whole

wrapper=()
# lazily CASE: in a sandbox.
lazily() {
    rm -f "$work/w/out"
    "${wrapper[@]}" timeout -k 5 "$limit" "${as[@]}" "$boxsup" run --shadow="$work/files" \
        --shadow-lazy --write="$work/w" -- env "CAUGHT=$caught" \
        python3 -B "$work/lazy_shadows.py" \
        "$work/files/one" "$work/files/two" "$work/expected" "$work/w/out" "$1" \
        >"$work/out" 2>"$work/err"
}

# Only who may open it can have faults caught, and it takes Linux 6.6.
can_catch=0
if [[ -r /dev/userfaultfd && -w /dev/userfaultfd && $(uname -m) == x86_64 ]] &&
    printf '6.6\n%s\n' "$(uname -r)" | sort -VC; then
    can_catch=1
fi

all() {
    local name
    caught=$can_catch
    [[ ${as[0]-} != setpriv ]] || caught=0
    for name in faults kernel threads many writes forks forks_at_once others_fork children execs \
        moves fixed at_once calls sends holes refused signals; do
        lazily $name ||
            fail "${as[*]} ${wrapper[*]} $name: status $?: $(tail -n 3 "$work/out" "$work/err")"
    done
    # The dynamic linker.
    boxsup run --shadow="$work/files" --shadow-lazy -- env LD_LIBRARY_PATH="$work/files" python3 -c '
import ctypes
print(ctypes.CDLL("libz.so.1").crc32(0, b"abc", 3) & 0xffffffff)' >"$work/out" 2>"$work/err" ||
        fail "${as[*]} a library: $(<"$work/err")"
    [[ $(<"$work/out") == 891568578 ]] || fail "a library: $(<"$work/out")"
    # Nothing of them stays in boxsup either.
    boxsup churn --count=60 --jobs=3 --shadow="$work/files" --shadow-lazy -- python3 -B -S -c "
import mmap, os
fd = os.open('$work/files/one', 0)
print(mmap.mmap(fd, 0, access=mmap.ACCESS_READ)[5000000], os.pread(fd, 5, 7))" \
        >"$work/out" 2>"$work/err" || fail "${as[*]} churn: $(tail -n 2 "$work/out" "$work/err")"
    [[ $(tail -n 1 "$work/out") =~ " 0 live, "([0-9]+)" descriptors" ]]
    # Three jobs have less than that; those that this shell was given are not boxsup's.
    ((BASH_REMATCH[1] < 12 + $(find "/proc/$$/fd" -mindepth 1 | wc -l))) || fail "${as[*]} churn: $(tail -n 1 "$work/out")"
}
each_way all

# Where userfaultfd is not permitted, or not there, copies are made whole.
caught=0
userfaultfd=323 # of x86-64
[[ $(uname -m) == x86_64 ]] || userfaultfd=282
for number in 1 38; do # EPERM, ENOSYS
    wrapper=("$programs/refuses" "$userfaultfd" "$number" "$(command -v env)")
    lazily faults || fail "errno $number: $(tail -n 3 "$work/err")"
    lazily refused || fail "errno $number: $(tail -n 3 "$work/err")"
done
wrapper=()

# The file changes when a part has been read.
stale() {
    local i status=0
    lazily changed &
    for ((i = 0; i < 3000; i++)); do [[ ! -e $work/w/out ]] || break; sleep 0.02; done
    head -c 100 /dev/zero | dd of="$work/files/one" conv=notrunc bs=100 seek=50000 status=none
    rm "$work/w/out"
    wait $! || status=$?
    cp "$work/expected" "$work/files/one"
    [[ $status -eq $1 ]] || fail "${as[*]} changed: status $status: $(tail -n 3 "$work/err")"
}
caught=0
as=("$programs/refuses" "$userfaultfd" 38)
stale 0
as=()
if ((can_catch)); then
    caught=1
    sleep 3
    stale 135 # SIGBUS
    [[ $(<"$work/w/out") == lost ]] || fail "changed: ended too early: $(<"$work/err")"
    [[ $(grep -c "the shadow of $work/files/one lost what had not been read" "$work/err") -eq 1 ]] ||
        fail "changed: told: $(<"$work/err")"
    # Killed anywhere, it leaves nothing, and boxsup goes on.
    sleep 3
    for ((i = 0; i < 40; i++)); do
        status=0
        boxsup run --shadow="$work/files" --shadow-lazy -- timeout -s KILL 0.0$((i + 20)) python3 -S \
            "$work/lazy_shadows.py" "$work/files/one" "$work/files/two" \
            "$work/expected" "$work/w/out" many >/dev/null 2>"$work/err" || status=$?
        [[ $status -eq 137 || $status -eq 0 ]] || fail "killed: status $status: $(<"$work/err")"
    done
fi
