# ends_by.sh: SIGKILL, SIGSEGV, abort, _exit and the like: under `boxledger run` the report comes
# all the same, complete to the last call, and says what ended the program.
. "$(dirname "$0")/harness.sh"
need_tool jq
while read -r how ended status exit_status; do
    report=$work/$how.json got=0
    run --live --format=json --report="$report" -- "$programs/ends_by" - "$how" \
        >"$work/out" 2>&1 || got=$?
    [[ $got -eq $exit_status ]] || fail "$how: the command exits with $got: $(head -3 "$work/out")"
    [[ -s $report ]] || fail "$how: no report"
    is=$(json "$report" '"\(.process.ended) \(.process.status)"')
    [[ $is == "$ended $status" ]] || fail "$how: ended by $is, not $ended $status"
    memfds=$(json "$report" '[.live[] | select(.resource == "fd" and
        ([.stack[]?.function] | any(. == "main" or . == "the_last_taker" or . == "ends"))) |
        .count] | add')
    [[ $memfds -eq 3 ]] || fail "$how: $memfds of 3 memfds are in the report"
    last=$(json "$report" '[.live[] | select(.resource == "fd") |
        select([.stack[]?.function] | any(. == "the_last_taker"))] | length')
    [[ $last -eq 1 ]] || fail "$how: the last call is not in the report"
    bytes=$(json "$report" '[.live[] | select(.resource == "mapping" and
        ([.stack[]?.function] | any(. == "main"))) | .bytes] | add')
    [[ $bytes -eq 12288 ]] || fail "$how: $bytes bytes of mappings are in the report, not 12288"
    rm "$report"
done <<'HOW'
exit exit 3 3
return exit 3 3
_exit exit 3 3
_Exit exit 3 3
quick_exit exit 3 3
syscall_exit_group exit 3 3
inline_exit_group exit 3 3
thread exit 3 3
sigkill signal 9 137
sigsegv signal 11 139
sigterm signal 15 143
abort signal 6 134
HOW
