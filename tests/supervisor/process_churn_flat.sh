# process_churn_flat.sh: from the 1,000th sandbox on, the supervisor's descriptors and VMAs stay what
# they are, and its memory does but for a little.
. "$(dirname "$0")/process.sh"
count=20000
((long)) && count=100000
limit=1500

boxsup churn --count=$count --jobs=8 >"$work/out" || fail "status $?: $(tail -n 3 "$work/out")"

# figure LINE NAME
figure() { sed -n "s/.* \([0-9]*\) $2.*/\1/p" <<<"$1"; }
warm=$(grep "^1000 done.* 0 live" "$work/out")
end=$(tail -n 1 "$work/out")
[[ $end == "$count done"*" 0 live"* ]] || fail "not $count: $end"
for name in descriptors VMAs; do
    [[ $(figure "$warm" $name) -eq $(figure "$end" $name) ]] || fail "$name: $warm; $end"
done
grown=$(($(figure "$end" "KiB resident") - $(figure "$warm" "KiB resident")))
((grown < 1024)) || fail "$grown KiB more: $warm; $end"
echo "$end"
