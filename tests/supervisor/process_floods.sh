# process_floods.sh: a sandbox that does nothing but ask ends in its time, and others are answered
# meanwhile, by the same supervisor.
. "$(dirname "$0")/process.sh"

began=$SECONDS
status=0
boxsup run --timeout=1 -- "$programs/floods" 60 2>"$work/err" || status=$?
[[ $status -eq $timed_out ]] || fail "status $status: $(<"$work/err")"
((SECONDS - began < 20)) || fail "after $((SECONDS - began)) s"

"$boxsup" serve --socket="$work/socket" --jobs=4 2>"$work/err" &
server=$!
trap 'kill -KILL $server 2>/dev/null || :; rm -rf "$work"' EXIT
for ((i = 0; i < 3000; i++)); do [[ ! -S $work/socket ]] || break; sleep 0.02; done
timeout -k 5 "$limit" python3 -c '
import json, socket, sys
def connect():
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(sys.argv[1])
    return connection.makefile("rw")
def ask(stream, **request):
    stream.write(json.dumps(request) + "\n")
    stream.flush()
floods = [connect(), connect()]
for stream in floods: ask(stream, command=[sys.argv[2], "60"], timeout=4)
other = connect()
for number in range(20):
    ask(other, command=["cat", "/proc/self/comm"])
    answer = json.loads(other.readline())
    assert answer["stdout"] == "cat\n", answer
for stream in floods:
    answer = json.loads(stream.readline())
    assert answer["timed_out"] and answer["notifications"] > 1000, answer' \
    "$work/socket" "$programs/floods" || fail "while others flood: $(<"$work/err")"
kill -TERM $server
wait $server || fail "ended with status $?: $(<"$work/err")"
