# command_statuses.sh: the command ends as the program did, passes signals on to it, and counts what
# it found only when it was asked to.
. "$(dirname "$0")/harness.sh"
need_command

# ends STATUS OPTIONS... -- ARGUMENTS...
ends() {
    local status=$1 got=0 options=()
    shift
    while [[ $1 != -- ]]; do
        options+=("$1")
        shift
    done
    shift
    run --report="$work/report" "${options[@]}" -- "$programs/takes_things" "$@" 2>"$work/err" || got=$?
    [[ $got -eq $status ]] || fail "${options[*]} -- $*: status $got, not $status: $(cat "$work/err")"
    [[ $(tail -1 "$work/report") == SUMMARY:* ]] || fail "$*: no SUMMARY at the end"
}

ends 0 -- memfds=1
ends 7 -- exit=7
ends 255 -- _exit=255
for signal in 6 9 11 15; do
    ends $((128 + signal)) -- signal="$signal"
    grep -q "ended by signal $signal; not verified" "$work/report" || fail "signal $signal is not told"
done

# Held is not wrong; closed twice is.
ends 0 --error-exitcode=23 -- memfds=5 maps=5
ends 23 --error-exitcode=23 -- closes_twice=2
ends 23 --error-exitcode=23 -- closes_twice=2 exit=7
ends 7 --error-exitcode=0 -- closes_twice=2 exit=7
echo 'leak:close_again' >"$work/known"
ends 7 --error-exitcode=23 --suppressions="$work/known" -- closes_twice=2 exit=7
grep -q '^ *2 .*close_again' "$work/report" || fail "the suppression that was used is not told"
echo 'leak:close_again max:1' >"$work/known"
ends 23 --error-exitcode=23 --suppressions="$work/known" -- closes_twice=2
echo 'leak:never_called' >"$work/known"
ends 0 --suppressions="$work/known" -- memfds=1
grep -q "known:1: matched nothing: leak:never_called" "$work/report" ||
    fail "a suppression that matched nothing is not told"

# It went on as something that cannot be watched.
got=0
run -- "$programs/takes_things" execs="$programs/static_program" 2>"$work/err" || got=$?
[[ $got -eq 124 ]] || fail "exec of a static program: status $got"
grep -q 'went on as .*static_program, into which boxledger could not be loaded' "$work/err" ||
    fail "exec of a static program: $(cat "$work/err")"
grep -q 'nothing left behind' "$work/err" && fail "exec of a static program: 'nothing left behind'"

# Signals from other processes reach the program, and end the command through it.
for signal in TERM HUP INT QUIT USR1 USR2; do
    run --report="$work/report" -- "$programs/takes_things" says=ready sleeps=20000 >"$work/out" &
    waiter=$!
    for ((i = 0; i < 1000; i++)); do
        grep -q ready "$work/out" && break
        sleep 0.02
    done
    # The command itself, below timeout(1).
    command=$(pgrep -P "$waiter" -f 'boxledger run' | head -1 || true)
    [[ -n $command ]] || command=$(pgrep -f "boxledger run --report=$work/report" | tail -1 || true)
    [[ -n $command ]] || fail "SIG$signal: the command is not to be found: $(cat "$work/out")"
    kill -"$signal" "$command"
    got=0
    wait "$waiter" || got=$?
    # Background jobs of a shell without job control ignore SIGINT and SIGQUIT, and so does the
    # program then, as it would without us.
    case $signal in
    INT | QUIT) kill -TERM "$command" 2>/dev/null || true ;;
    *) [[ $got -eq $((128 + $(kill -l "$signal"))) ]] || fail "SIG$signal: status $got" ;;
    esac
done
