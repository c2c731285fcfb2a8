# gate_interrupted.sh: whatever becomes of the command or of the gate, a baseline and a report are
# there as they were or as they are to be, never half; and what was not whole is not written down
# as known.
. "$(dirname "$0")/harness.sh"
. "$source/tests/gate/gate.sh"
known=$work/known.json
gate 0 --baseline="$known" --update-baseline -- "$sandboxes" keeps_fd=4
before=$(<"$known")
same() {
    [[ $(<"$known") == "$before" ]] || fail "$*: the baseline is not as it was"
    no_leftovers
}

# --- The command fails: what it had is not the new baseline.
for how in exit=1 signal=9 signal=15 "execs=$programs/static_program"; do
    gate 3 --baseline="$known" --update-baseline -- "$sandboxes" keeps_map=1 "$how"
    says 'known.json is as it was'
    same "$how"
done
gate 3 --baseline="$known" --update-baseline --min-sandboxes=2 -- "$sandboxes" keeps_map=1
same 'too few sandboxes'
gate 3 --baseline="$work/new.json" --update-baseline -- "$sandboxes" exit=1
[[ ! -e $work/new.json ]] || fail "a command that failed has made a baseline"

# --- No room for the new one, once the command has run.
need_tool prlimit
mkfifo "$work/said" # limits on the size of files are for those of the gate
start() { # OPTION... -- COMMAND...: a gate in the background, $gate, once its command says "ready"
    : >"$work/out"
    cat "$work/said" >"$work/err" &
    reader=$!
    # A shell without job control has its background jobs ignore SIGINT and SIGQUIT: python does not.
    env BOXLEDGER_SHIM="$shim" python3 -c '
import os, signal, sys
for number in (signal.SIGINT, signal.SIGQUIT):
    signal.signal(number, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])' "$boxledger" gate "$@" >"$work/out" 2>"$work/said" &
    gate=$!
    for ((i = 0; i < 1000; i++)); do
        grep -q ready "$work/out" && break
        sleep 0.02
    done
    program=$(pgrep -P "$gate" || true)
    [[ -n $program ]] || fail "the command does not run: $(cat "$work/err")"
}
ended() { # waits for it; its status is in $got, what it said in $work/err
    got=0
    wait "$gate" 2>"$work/null" || got=$?
    wait "$reader"
}
start --baseline="$known" --update-baseline -- "$sandboxes" keeps_fd=1 says=ready sleeps=4000
prlimit --pid "$gate" --fsize=100:100
ended
[[ $got -eq 3 ]] || fail "no room for a baseline: status $got"
says 'known.json: File too large: the old one is as it was'
same 'no room'

# --- No memory for the gate itself, once the command has run.
start --baseline="$known" --update-baseline -- "$sandboxes" keeps_fd=1 says=ready sleeps=4000
prlimit --pid "$gate" --as=4096:4096
ended
[[ $got -eq 3 ]] || fail "no memory: status $got: $(cat "$work/err")"
says 'out of memory'
same 'no memory'

# --- The gate is sent a signal while the command runs.
report=$work/report.xml
for signal in TERM INT HUP QUIT KILL; do
    echo old >"$report"
    start --baseline="$known" --update-baseline --repeat=5 --report="$report" -- \
        "$sandboxes" keeps_map=1 says=ready sleeps=20000
    kill -"$signal" "$gate"
    [[ $signal != KILL ]] || kill -KILL "$program" # which goes on without it
    ended
    if [[ $signal == KILL ]]; then
        [[ $got -eq 137 && $(<"$report") == old ]] || fail "SIGKILL: status $got, or a new report"
    else
        [[ $got -eq 3 ]] || fail "SIG$signal: status $got: $(cat "$work/err")"
        says "interrupted by signal $(kill -l "$signal")"
        grep -q '<error .*interrupted' "$report" || fail "SIG$signal: $(cat "$report")"
        tail -n 1 "$report" | grep -qx '</testsuites>' || fail "SIG$signal: half a report"
    fi
    same "SIG$signal"
done

# --- Nobody who reads a report while it is replaced sees half of one.
gate 1 --report="$report" -- "$sandboxes" keeps_fd=3 keeps_map=3 keeps_other=3
whole=$(wc -l <"$report")
for ((i = 0; i < 20; i++)); do
    timeout 20 env BOXLEDGER_SHIM="$shim" "$boxledger" gate --report="$report" -- \
        "$sandboxes" keeps_fd=3 keeps_map=3 keeps_other=3 2>>"$work/null" || true
done &
writer=$!
while kill -0 "$writer" 2>>"$work/null"; do
    seen=$(wc -l <"$report")
    [[ $seen -eq $whole ]] || fail "a report of $seen lines was seen, not $whole"
done
wait "$writer"

# --- What is no file is written to: a pipe, a device, standard output.
gate 1 --report=/dev/stdout -- "$sandboxes" keeps_fd=1
grep -q '^SUMMARY: boxledger: gate failed: 1 new' "$work/out" || fail "nothing on standard output"
mkfifo "$work/pipe"
cat "$work/pipe" >"$work/piped" &
gate 1 --report="$work/pipe" --format=junit -- "$sandboxes" keeps_fd=1
wait
grep -q '</testsuites>' "$work/piped" || fail "nothing came through the pipe"
[[ -p $work/pipe ]] || fail "the pipe was replaced"
gate 0 --report=/dev/null -- "$sandboxes" clean=1
[[ -c /dev/null ]] || fail "/dev/null was replaced"
no_leftovers
