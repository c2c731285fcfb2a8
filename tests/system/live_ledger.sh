# live_ledger.sh: `boxledger run --ledger=FILE`: FILE can be read while the program runs, is whole
# and closed to others at its end, and is not there when nothing was run.
. "$(dirname "$0")/harness.sh"
need_tool jq
need_command
mkfifo "$work/go"
cat >"$work/program" <<END
#!/bin/bash
exec 9</dev/null
read -r line <"$work/go"
exit 7
END
chmod 755 "$work/program"

# The program may not have come that far, or never have been started.
# shellcheck disable=SC2016
release() { timeout 10 bash -c 'echo >"$1"' release "$work/go" || true; }

timeout -k 5 60 env BOXLEDGER_SHIM="$shim" "$boxledger" run --rescue --ledger="$work/live" \
    --report="$work/report" -- "$work/program" &
command=$!
ended=
for ((tries = 0; tries < 100; tries++)); do
    "$boxledger" report --live --format=json "$work/live" >"$work/now" 2>"$work/err" &&
        ended=$(json "$work/now" .process.ended) && [[ $ended == running ]] &&
        [[ $(json "$work/now" '[.live[] | select(.resource == "fd") | .count] | add') -ge 1 ]] &&
        break
    sleep 0.1
done
[[ $ended == running && $tries -lt 100 ]] || fail "it cannot be read live: $(<"$work/err")"
[[ $(json "$work/now" '.policies.on | join(" ")') == rescue ]] || fail "$(head -c 900 "$work/now")"
"$boxledger" top --interval-ms=0 "$work/live" >"$work/top" || fail "top cannot read it"
got=0
"$boxledger" run --ledger="$work/live" -- true 2>"$work/err" || got=$?
[[ $got -eq 2 ]] || fail "a second run takes its name: status $got"
release
got=0
wait "$command" || got=$?
[[ $got -eq 7 ]] || fail "status $got"

[[ -f $work/live && ! -L $work/live ]] || fail "no file: $(ls -l "$work")"
[[ $(stat -c %a "$work/live") == 600 ]] || fail "the file's mode is $(stat -c %a "$work/live")"
"$boxledger" report --format=json "$work/live" >"$work/then" || fail "the saved ledger"
[[ $(json "$work/then" '.process | [.ended, .status, .verified] | join(" ")') == "exit 7 true" ]] ||
    fail "$(head -c 500 "$work/then")"
[[ $(find "$work" -name 'live?*' | wc -l) -eq 0 ]] || fail "something is left: $(ls -l "$work")"

# Nothing was run: nothing is there.
got=0
"$boxledger" run --ledger="$work/none" -- "$work/nonesuch" 2>"$work/err" || got=$?
[[ $got -eq 127 && ! -e $work/none && ! -L $work/none ]] || fail "status $got: $(ls -l "$work")"

# What the name leads to by then is somebody else's, and stays.
timeout -k 5 60 env BOXLEDGER_SHIM="$shim" "$boxledger" run --ledger="$work/taken" \
    --report="$work/report2" -- "$work/program" 2>"$work/err" &
command=$!
for ((tries = 0; tries < 100; tries++)); do
    [[ -L $work/taken ]] && break
    sleep 0.1
done
echo precious >"$work/precious"
mv "$work/precious" "$work/taken"
release
got=0
wait "$command" || got=$?
[[ $got -eq 125 ]] || fail "something else has its name: status $got"
[[ $(<"$work/taken") == precious ]] || fail "what was not ours was replaced"

# The command is killed: the name leads nowhere, and report says why.
env BOXLEDGER_SHIM="$shim" "$boxledger" run --ledger="$work/lost" --report="$work/report3" -- \
    "$work/program" &
command=$!
for ((tries = 0; tries < 100; tries++)); do
    [[ -L $work/lost ]] && break
    sleep 0.1
done
kill -KILL "$command"
wait "$command" 2>/dev/null || true
release
got=0
"$boxledger" report "$work/lost" 2>"$work/err" || got=$?
[[ $got -eq 125 ]] || fail "a lost ledger: status $got"
grep -q 'was killed' "$work/err" || fail "$(<"$work/err")"
