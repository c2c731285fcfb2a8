# serve.sh: `boxsup serve` answers requests, each in a sandbox of its own, refuses what is none and
# who is not its user, and holds nothing when it has answered.
# shellcheck disable=SC2016
. "$(dirname "$0")/process.sh"
socket=$work/socket

cat >"$work/ask.py" <<'EOF'
import json, socket, sys, threading
def ask(path, lines):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect(path)
        stream = connection.makefile("rw")
        answers = []
        for line in lines:
            try:
                stream.write((line if isinstance(line, str) else json.dumps(line)) + "\n")
                stream.flush()
            except OSError:
                pass
            answers.append(json.loads(stream.readline()))
        return answers
EOF

start() {
    "${as[@]}" "$boxsup" serve --socket="$socket" "$@" 2>"$work/err" &
    server=$!
    trap 'kill -KILL $server 2>/dev/null || :; rm -rf "$work"' EXIT
    local i
    for ((i = 0; i < 200; i++)); do [[ ! -S $socket ]] || return 0; sleep 0.02; done
    fail "does not listen: $(<"$work/err")"
}
stop() {
    kill -TERM "$server"
    wait "$server" || fail "ended with status $?: $(<"$work/err")"
    [[ ! -e $socket ]] || fail "leaves its socket"
}
ask() { timeout -k 5 "$limit" python3 -c "$1" "$socket" "$work" || fail "${as[*]} asked: $1"; }
descriptors() { find "/proc/$server/fd" -mindepth 1 | wc -l; }
# What it holds when it has noticed that nobody asks any more.
held() {
    local now last=-1 i
    for ((i = 0; i < 50; i++)); do
        now=$(descriptors)
        [[ $now -ne $last ]] || break
        last=$now
        sleep 0.2
    done
    echo "$now"
}

talk() {
    start --hostname=served --write="$work/w"
    ask '
import sys; sys.path.insert(0, sys.argv[2]); from ask import *
one, two, three, four = ask(sys.argv[1], [
    {"id": 1, "command": ["sh", "-c", "echo out; echo err >&2; hostname=$(uname -n); echo $hostname; exit 3"]},
    {"id": "x", "command": ["pwd"], "directory": "/usr"},
    {"command": ["sh", "-c", "kill -9 $$"]},
    {"command": ["sleep", "50"], "timeout": 1}])
assert one["id"] == 1 and one["status"] == 3, one
assert one["stdout"] == "out\nserved\n" and one["stderr"] == "err\n", one
assert two["id"] == "x" and two["stdout"] == "/usr\n" and two["status"] == 0, two
assert three["status"] == 137 and not three["timed_out"], three
assert four["status"] == 124 and four["timed_out"], four'
    ask '
import sys; sys.path.insert(0, sys.argv[2]); from ask import *
for line, words in [("nonsense", "not JSON"), ("[1]", "not a JSON object"), ({}, "command"),
                    ({"command": []}, "command"), ({"command": ["a", 1]}, "command"),
                    ({"command": "true"}, "command"), ({"command": ["a\0b"]}, "not JSON"),
                    ({"command": ["true"], "timeout": 0}, "timeout"),
                    ({"command": ["true"], "directory": 3}, "directory"),
                    ({"command": ["true"], "nonsense": 3}, "nonsense"),
                    ({"command": ["nosuch"]}, "nosuch"), ("x" * (2 << 20), "mebibyte")]:
    answer, = ask(sys.argv[1], [line])
    assert words in answer["error"], (words, answer)'
    # As much output as nobody wants, and none that is text.
    ask '
import sys; sys.path.insert(0, sys.argv[2]); from ask import *
much, binary = ask(sys.argv[1], [
    {"command": ["sh", "-c", "head -c 3000000 /dev/zero | tr \"\\0\" x; echo end >&2"]},
    {"command": ["printf", "\\377a\\0b"]}])
assert len(much["stdout"]) == 1 << 20 and much["stdout_cut"] and much["stderr"] == "end\n"
assert binary["stdout"] == "?a\0b" and not binary["stdout_cut"], binary'
    # Many at once; afterwards it holds what it held.
    local before
    before=$(held)
    ask '
import sys; sys.path.insert(0, sys.argv[2]); from ask import *
wrong = []
def many(number):
    for answer in ask(sys.argv[1], [{"id": number, "command": ["echo", str(number)]}] * 10):
        if answer.get("stdout") != f"{number}\n": wrong.append(answer)
threads = [threading.Thread(target=many, args=(number,)) for number in range(20)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert not wrong, wrong'
    local i
    for ((i = 0; i < 100 && $(descriptors) != before; i++)); do sleep 0.02; done
    [[ $(descriptors) -eq $before ]] || fail "${as[*]} $(descriptors) descriptors, before $before"
    stop
}
mkdir -m 777 "$work/w"
talk
as=(env "LD_PRELOAD=$shim")
talk
as=()

# With no descriptor left for those who ask it waits; it does not try again and again.
as=(prlimit --nofile=36:)
start --jobs=32
as=()
sleep 1
read -r -a figures <"/proc/$server/stat"
((figures[13] + figures[14] < $(getconf CLK_TCK) / 4)) ||
    fail "it computed for $((figures[13] + figures[14])) ticks while nobody asked"
stop

# Another user: the path refuses, and if that is open, the process does.
if [[ $(id -u) -eq 0 ]]; then
    start
    [[ $(stat -c %a "$socket") == 700 ]] || fail "mode $(stat -c %a "$socket")"
    chmod 777 "$socket"
    timeout 20 setpriv --reuid=65534 --regid=65534 --clear-groups \
        sh -c 'exec python3 -c "$@"' sh '
import sys; sys.path.insert(0, sys.argv[2]); from ask import *
answer, = ask(sys.argv[1], [{"command": ["true"]}])
assert "only the user" in answer["error"] and "status" not in answer, answer' \
        "$socket" "$work" || fail "another user is answered"
    stop
fi

# What is in the way stays there.
echo mine >"$socket"
status=0
boxsup serve --socket="$socket" 2>"$work/err" || status=$?
[[ $status -eq $failed && $(<"$socket") == mine ]] || fail "status $status: $(<"$work/err")"
grep -q "Address already in use" "$work/err" || fail "$(<"$work/err")"
