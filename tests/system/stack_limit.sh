# stack_limit.sh: the command writes its report where the hard limit allows hardly any stack: what
# it reads debug information with needs much.
. "$(dirname "$0")/harness.sh"
need_command
need_tool prlimit
need_tool setpriv

# Whoever has CAP_SYS_RESOURCE could raise the limit again.
confined=()
[[ $(id -u) -ne 0 ]] || confined=(setpriv --inh-caps=-all --bounding-set=-sys_resource)
"${confined[@]}" true 2>"$work/err" || skip "no capability can be dropped here: $(<"$work/err")"

for kib in 64 96 128; do
    got=0
    timeout 60 "${confined[@]}" prlimit --stack=$((kib * 1024)):$((kib * 1024)) \
        env BOXLEDGER_SHIM="$shim" "$boxledger" run --live --report="$work/report" -- \
        "$programs/takes_things" memfds=3 exit=7 2>"$work/err" || got=$?
    [[ $got -eq 7 ]] || fail "$kib KiB of stack: status $got: $(<"$work/err")"
    grep -q 'in .*takes_things\.c:' "$work/report" ||
        fail "$kib KiB of stack: a report without lines: $(<"$work/report")"
    [[ $(tail -1 "$work/report") == SUMMARY:* ]] || fail "$kib KiB of stack: no SUMMARY at the end"
done
