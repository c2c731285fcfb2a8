# stderr_unread.sh: the exit report of a bare LD_PRELOAD neither ends nor holds up the program when
# nobody reads its stderr: a pipe that is closed, one that is full.
. "$(dirname "$0")/harness.sh"
need_tool python3
cat >"$work/ends.py" <<'END'
import fcntl, os, subprocess, sys, time

program, environment = sys.argv[1:3], dict(os.environ, LD_PRELOAD=sys.argv[3])


def ends(what, end, **more):
    child = subprocess.Popen(program, stderr=end, env={**environment, **more})
    try:
        status = child.wait(20)
    except subprocess.TimeoutExpired:
        child.kill()
        sys.exit(what + ": it never ended")
    if status != 5:
        sys.exit("%s: status %d" % (what, status))


reader, writer = os.pipe()
os.close(reader)
ends("closed", writer)
os.close(writer)

reader, writer = os.pipe()
os.set_blocking(writer, False)
try:
    while True:
        os.write(writer, b"x" * 4096)
except BlockingIOError:
    pass
os.set_blocking(writer, True)
ends("full", writer, BOXLEDGER_OPTIONS="exit_wait_ms=200")
END
printf 'exit 5\n' >"$work/five"
timeout 60 python3 "$work/ends.py" "$BASH" "$work/five" "$shim" || fail "status $?"
