# process_changing_shadows.sh: a file that changes or shrinks while it is copied is either copied as
# it was at one moment, or not opened at all.
. "$(dirname "$0")/process.sh"

mkdir -m 755 "$work/files"
truncate -s 64M "$work/files/file"

# while_it MODE SCRIPT: a script in the sandbox, while the file is changed all the time.
while_it() {
    truncate -s 64M "$work/files/file"
    python3 -c '
import os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
size = 64 << 20
while True:
    if sys.argv[2] == "writes":
        os.pwrite(fd, b"x", size - 1)
    elif sys.argv[2] == "grows":
        os.ftruncate(fd, size)
        os.ftruncate(fd, size + 4096)
    else: # shrinks
        os.ftruncate(fd, size)
        os.ftruncate(fd, 1)' "$work/files/file" "$1" &
    local writer=$! before
    before=$(stat -c %z "$work/files/file")
    trap 'kill -KILL $writer 2>/dev/null || :; rm -rf "$work"' EXIT
    while [[ $(stat -c %z "$work/files/file") == "$before" ]]; do sleep 0.02; done
    boxsup run --shadow="$work/files" --timeout=60 -- python3 -c "$2" "$work/files/file" \
        >"$work/out" 2>"$work/err" || fail "$1: status $?: $(<"$work/err")"
    kill -KILL $writer
    wait $writer 2>/dev/null || :
    trap 'rm -rf "$work"' EXIT
}

busy='
import os, sys
errors = set()
for _ in range(3):
    try: os.close(os.open(sys.argv[1], os.O_RDONLY))
    except OSError as error: errors.add(os.strerror(error.errno))
print(*errors)'
for mode in writes grows; do
    while_it $mode "$busy"
    [[ $(<"$work/out") == "Device or resource busy" ]] || fail "$mode: $(<"$work/out")"
done

# What is opened has one of its sizes.
while_it shrinks '
import os, sys
for _ in range(20):
    try: fd = os.open(sys.argv[1], os.O_RDONLY)
    except OSError as error:
        assert error.strerror == "Device or resource busy", error
        continue
    size = os.fstat(fd).st_size
    assert size in (1, 64 << 20) and len(os.read(fd, 65 << 20)) == size, size
    os.close(fd)'
