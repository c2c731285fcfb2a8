# command_gone.sh: processes that outlive a command that followed them run on in silence, and make
# no ledgers that nobody will ever remove; whether it ended or was killed.
. "$(dirname "$0")/harness.sh"
need_command
cat >"$work/program" <<'END'
#!/bin/bash
printf '%s\n' "$BOXLEDGER_OPTIONS" >"$1/options"
{
    while [[ ! -e $1/go ]]; do sleep 0.05; done
    /bin/true || exit 1
    (exit 3)
    [[ $? -eq 3 ]] || exit 1
    exec bash -c 'echo went on >"$1/ended"' sh "$1"
} &
[[ $2 == ends ]] || wait
END
chmod +x "$work/program"

goes_on() { # until the program has ended
    touch "$work/go"
    for ((i = 0; i < 200; i++)); do
        [[ -e $work/ended ]] && break
        sleep 0.05
    done
    [[ -e $work/ended ]] || fail "$1: the program did not go on"
    sleep 0.2
    [[ ! -s $work/err ]] || fail "$1: on the program's stderr: $(head -3 "$work/err")"
}
directory() { sed "s/.*follow_dir=[\"']\([^\"']*\).*/\1/" "$work/options"; }

run --follow --report="$work/report" -- "$work/program" "$work" ends 2>"$work/err" ||
    fail "status $?"
[[ ! -e $(directory) ]] || fail "$(directory) is left behind"
goes_on "the command ended"
rm -f "$work/go" "$work/ended" "$work/options"

env BOXLEDGER_SHIM="$shim" "$boxledger" run --follow --report="$work/report" -- \
    "$work/program" "$work" stays 2>"$work/err" &
command=$!
disown
for ((i = 0; i < 200; i++)); do
    [[ -s $work/options ]] && break
    sleep 0.05
done
sleep 0.3
kill -KILL "$command"
while kill -0 "$command" 2>/dev/null; do sleep 0.02; done
made=$(directory)
[[ $made == */boxledger-?????? && -d $made ]] || fail "no directory: $(<"$work/options")"
trap 'rm -rf "$work" "$made"' EXIT
# A sleep may have been starting.
before=-1
for ((i = 0; i < 50; i++)); do
    now=$(find "$made" -type f | wc -l)
    [[ $now -ne $before ]] || break
    before=$now
    sleep 0.3
done
goes_on "the command was killed"
after=$(find "$made" -type f | wc -l)
[[ $after -eq $before ]] || fail "$((after - before)) more ledgers, that nobody will remove"
