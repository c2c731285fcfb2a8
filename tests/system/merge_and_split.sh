# merge_and_split.sh: the program of F3: ranges equal to /proc/self/maps, the refused unmaps in the
# report with their stack, the VMA figure exact.
. "$(dirname "$0")/harness.sh"
both merge_and_split
need_tool jq
run --live --format=json --report="$work/report" -- "$programs/merge_and_split" - >"$work/out" ||
    fail "under boxledger run: status $?"
refused=$(sed -n 's/^refused //p' "$work/out")
vmas=$(sed -n 's/^vmas //p' "$work/out")
is=$(json "$work/report" .totals.vmas)
[[ $is -eq $vmas ]] || fail "the report says $is VMAs, the kernel said $vmas"
is=$(json "$work/report" '[.refused[] | select([.stack[]?.function] | any(. == "unmap_one")) |
    .count] | add')
[[ $is -eq $refused ]] || fail "the report has $is refused unmaps in unmap_one, not $refused"
is=$(json "$work/report" '[.live[] | select(.resource == "mapping" and
    ([.stack[]?.function] | any(. == "main"))) | .bytes] | add')
[[ $is -eq $(((65515 + refused) * 4096)) ]] || fail "$is bytes in the report"
