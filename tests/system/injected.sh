# injected.sh: a memfd made by an inline syscall and injected into a sandbox is in the report, by
# its name and with the stack that injected it, however the request is spelled.
. "$(dirname "$0")/harness.sh"
need_tool jq
names=(plain both-ways widened high-bits)
got=0
"$programs/injected" "${names[@]}" >"$work/bare" || got=$?
[[ $got -ne 77 ]] || skip "$(tail -n 1 "$work/bare")"
[[ $got -eq 0 ]] || fail "without the shim: $(<"$work/bare")"
run --live --format=json --report="$work/json" -- "$programs/injected" "${names[@]}" \
    >"$work/shim" 2>"$work/err" || fail "under the shim: $(cat "$work/shim" "$work/err")"
diff "$work/bare" "$work/shim" || fail "other descriptors than without the shim"
for name in "${names[@]}"; do
    count=$(json "$work/json" "[.live[] | select(.resource == \"fd\" and
        (.what | contains(\"memfd:$name\")) and
        ([.stack[]?.function] | any(. == \"inject\"))) | .count] | add // 0")
    [[ $count -eq 1 ]] || fail "the memfd $name is in the report $count times"
done
