# process_churn_flat.sh: from the 1,000th sandbox on, the supervisor's descriptors and VMAs stay what
# they are, and its memory does but for a little.
# shellcheck disable=SC2016
. "$(dirname "$0")/process.sh"
count=20000
((long)) && count=100000
limit=1500

# figure LINE NAME
figure() { sed -n "s/.* \([0-9]*\) $2.*/\1/p" <<<"$1"; }
# flat COUNT OPTION...
flat() {
    local warm end grown
    boxsup churn --count="$1" --jobs=8 "${@:2}" >"$work/out" ||
        fail "${*:2}: status $?: $(tail -n 3 "$work/out")"
    warm=$(grep "^1000 done.* 0 live" "$work/out")
    end=$(tail -n 1 "$work/out")
    [[ $end == "$1 done"*" 0 live"* ]] || fail "${*:2}: not $1: $end"
    for name in descriptors VMAs; do
        [[ $(figure "$warm" $name) -eq $(figure "$end" $name) ]] || fail "${*:2}: $name: $warm; $end"
    done
    grown=$(($(figure "$end" "KiB resident") - $(figure "$warm" "KiB resident")))
    ((grown < 1024)) || fail "${*:2}: $grown KiB more: $warm; $end"
    echo "$end"
}
flat $count
# With what has a state of its own for each: an upper layer, calls that are made again.
mkdir -p "$work/directory/below" "$work/uppers"
echo text >"$work/directory/below/file"
export TMPDIR=$work/uppers
flat $((count / 8)) --cow="$work/directory" -- \
    sh -c 'cd "$0" && echo more >>file && rm file && echo x >x' "$work/directory/below"
[[ -z $(ls "$work/uppers") && $(<"$work/directory/below/file") == text ]] || fail "something is left"
flat $((count / 8)) --root=/ -- sh -c 'cd /etc && head -n 1 passwd'
