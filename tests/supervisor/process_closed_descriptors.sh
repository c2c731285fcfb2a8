# process_closed_descriptors.sh: where a standard descriptor is closed at the start, nothing of
# boxsup's gets its number, and who writes to it learns that it is closed.
. "$(dirname "$0")/process.sh"

boxsup run -- true >&- || fail "run, without stdout: status $?"
boxsup run -- true <&- >&- 2>&- || fail "run, without any: status $?"
status=0
boxsup run -- echo text >&- 2>"$work/err" || status=$?
[[ $status -eq 1 ]] || fail "echo, without stdout: status $status"
grep -q "Bad file descriptor" "$work/err" || fail "echo: $(<"$work/err")"
status=0
boxsup run -- cat <&- 2>"$work/err" || status=$?
[[ $status -eq 1 ]] || fail "cat, without stdin: status $status: $(<"$work/err")"

# null COMMAND...: all three numbers are /dev/null's while it runs.
null() {
    "$boxsup" "$@" <&- >&- 2>&- &
    pid=$!
    local number i
    trap 'kill -KILL $pid 2>/dev/null || :; rm -rf "$work"' EXIT
    # Until it has others. It may have been given some, and begins like this shell.
    for number in 0 1 2; do
        for ((i = 0; i < 6000; i++)); do
            [[ ! -e /proc/$pid/fd/3 || $(readlink "/proc/$pid/fd/$number") != /dev/null ]] || break
            sleep 0.01
        done
        ((i < 6000)) || fail "$*: $number is $(readlink "/proc/$pid/fd/$number")"
    done
    kill -TERM "$pid"
    wait "$pid" 2>/dev/null || :
    trap 'rm -rf "$work"' EXIT
}
null run -- sleep 20
null churn --count=100000 -- true
null serve --socket="$work/socket"

status=0
"$boxsup" vm >"$work/out" 2>"$work/err" || status=$?
if [[ $status -eq 0 ]]; then
    null churn --kind=vm --count=100000
    status=0
    boxsup vm <&- >&- 2>&- || status=$?
    [[ $status -eq $failed ]] || fail "vm, without any: status $status"
    boxsup vm >&- 2>"$work/err" && fail "vm, without stdout: status 0"
    [[ $(<"$work/err") == *"cannot write to standard output: Bad file descriptor" ]] ||
        fail "vm: $(<"$work/err")"
else
    [[ $status -eq $unsupported ]] || fail "vm: status $status"
fi
