# process_leftovers.sh: when a sandbox ends, all of its processes have ended, however they tried to
# get away; when the supervisor ends, so does the sandbox's main process.
. "$(dirname "$0")/process.sh"

# A time to sleep that nobody else has is what these processes are found by.
mark=$((100000 + $$))
left() { pgrep -f "^sleep $mark\$" | wc -l; }

ends() {
    local status=0
    boxsup run -- sh -c "
        setsid sh -c 'sleep $mark & sleep $mark' &
        (setsid sh -c '(sleep $mark &) & wait; sleep $mark' &)
        sleep 0.2
        exit 6" 2>"$work/err" || status=$?
    [[ $status -eq 6 ]] || fail "${as[*]}: status $status, not 6"
    [[ $(left) -eq 0 ]] || fail "${as[*]}: $(left) processes outlive their sandbox"
}
each_way ends

# What the supervisor was started beside is not its own.
(sleep "$mark" & exec "$boxsup" run -- true)
for ((i = 0; i < 100 && $(left) == 0; i++)); do sleep 0.05; done
[[ $(left) -eq 1 ]] || fail "boxsup ended a process that is no sandbox's"
kill "$(pgrep -f "^sleep $mark\$")"

status=0
boxsup run --timeout=1 -- sh -c "sleep $mark & sleep $mark" 2>"$work/err" || status=$?
[[ $status -eq $timed_out ]] || fail "after the time: status $status, not $timed_out"
[[ $(left) -eq 0 ]] || fail "$(left) processes outlive their time"

"$boxsup" run -- sleep "$mark" &
supervisor=$!
for ((i = 0; i < 100 && $(left) == 0; i++)); do sleep 0.05; done
[[ $(left) -eq 1 ]] || fail "the sandbox does not run"
kill -KILL "$supervisor"
wait "$supervisor" 2>/dev/null || true
for ((i = 0; i < 100 && $(left) > 0; i++)); do sleep 0.05; done
[[ $(left) -eq 0 ]] || fail "the sandbox outlives its killed supervisor"

# The command's own end is told as a shell does.
status=0
boxsup run -- sh -c 'kill -TERM $$' || status=$?
[[ $status -eq 143 ]] || fail "ended by SIGTERM: status $status, not 143"
