# limits_supervisor.sh: boxsup serves many clients and leaks a descriptor each time that a sandbox asks
# for its host's name. One asks without end. Under limit_fds that one alone is told that there are
# too many open files; without, all that come after it are.
# shellcheck source=tests/system/harness.sh disable=SC2154,SC2016
. "$(dirname "$0")/../system/harness.sh"
need_command
need_tool python3
boxsup=$build/boxsup
[[ -x $boxsup ]] || fail "no boxsup at $boxsup"
"$boxsup" run -- /bin/true 2>"$work/err" || skip "boxsup runs no sandboxes here"

cat >"$work/clients.py" <<'EOF2'
import json, socket, sys, threading

CLIENTS, ROUNDS = 20, 5
GREEDY = "for i in $(seq 300); do cat /etc/hostname || exit 9; done"
HONEST = "cat /etc/hostname && cat /etc/hostname && echo done"

def ask(command):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect(sys.argv[1])
        stream = connection.makefile("rw")
        stream.write(json.dumps({"command": ["sh", "-c", command]}) + "\n")
        stream.flush()
        return json.loads(stream.readline() or "{}")

failures = []

def honest():
    for _ in range(ROUNDS):
        try:
            answer = ask(HONEST)
        except OSError as error:
            answer = {"error": str(error)}
        if answer.get("status") != 0 or "done" not in answer.get("stdout", ""):
            failures.append(answer)

greedy = {}
def take():
    try:
        greedy.update(ask(GREEDY))
    except OSError as error:
        greedy["error"] = str(error)

threads = [threading.Thread(target=take)]
threads[0].start()
if sys.argv[2] == "after":
    threads[0].join()
threads += [threading.Thread(target=honest) for _ in range(CLIENTS)]
for thread in threads[1:]:
    thread.start()
for thread in threads:
    thread.join()
print(json.dumps({"greedy": greedy.get("status"), "stderr": greedy.get("stderr", "")[-80:],
                  "failed": len(failures), "first": failures[:1]}))
EOF2

# serves OPTIONS...: what the clients saw, in $work/seen.
serves() {
    local order=$1 server socket=$work/socket
    shift
    rm -f "$socket" "$work/report"
    (
        ulimit -n 256
        exec timeout -k 5 "$limit" env ${fault:+"BOXLEDGER_FAULT=$fault"} BOXLEDGER_SHIM="$shim" \
            "$boxledger" run --format=json --report="$work/report" "$@" -- "$boxsup" serve \
            --socket="$socket" --jobs=4 --hostname=limited --defect=addfd-leak-hostname
    ) 2>"$work/err" &
    server=$!
    for _ in $(seq 200); do [[ ! -S $socket ]] || break; sleep 0.02; done
    timeout -k 5 "$limit" python3 -B "$work/clients.py" "$socket" "$order" >"$work/seen" ||
        fail "$*: the clients: $(<"$work/err")"
    kill -TERM "$server"
    wait "$server" || true
    cat "$work/seen"
}

serves during --limit-fds=40 --settle-ms=20 --reclaim
[[ $(json "$work/seen" .greedy) == 9 ]] || fail "the greedy one met no limit"
[[ $(json "$work/seen" .failed) == 0 ]] || fail "honest ones failed"
[[ $(json "$work/report" '[.findings[] | select(.verdict == "limited")] | length') -ge 1 ]] ||
    fail "the report has nothing of it"
serves after --settle-ms=20
[[ $(json "$work/seen" .failed) -gt 0 ]] || fail "without a limit nobody failed: this shows nothing"
