# wrapper_script.sh: a script that execs the real supervisor: the ledger covers the supervisor,
# not the shell, and not the script's other children (promise 6).
. "$(dirname "$0")/harness.sh"
need_tool jq
cat >"$work/wrapper" <<'SCRIPT'
#!/bin/sh
# what wrapper scripts do: look around, set a variable, step aside
where=$(dirname "$0")
ls "$where" | grep -q wrapper || exit 9
export SUPERVISOR_HOME="$where"
exec env EXTRA=1 "$@"
SCRIPT
chmod 755 "$work/wrapper"
got=0
run --live --format=json --report="$work/report" -- "$work/wrapper" "$programs/ends_by" - exit ||
    got=$?
[[ $got -eq 3 ]] || fail "the wrapper's exit code is $got, not the supervisor's 3"
[[ $(json "$work/report" .process.exe) == */ends_by ]] ||
    fail "the report is about $(json "$work/report" .process.exe)"
memfds=$(json "$work/report" '[.live[] | select(.resource == "fd" and
    ([.stack[]?.function] | any(. == "main"))) | .count] | add')
[[ $memfds -eq 3 ]] || fail "$memfds of the supervisor's 3 memfds are in the report"
