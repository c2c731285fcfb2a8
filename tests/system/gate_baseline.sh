# gate_baseline.sh: with a baseline, what is new or has grown fails, what is known does not, and
# what is gone is told. A finding is known again after a rebuild that moved all its lines.
. "$(dirname "$0")/harness.sh"
. "$source/tests/gate/gate.sh"
known=$work/known.json
judged() { # STATUS SUMMARY ARGUMENT...
    local status=$1 summary=$2
    shift 2
    gate "$status" --baseline="$known" -- "$sandboxes" "$@"
    [[ $(tail -n 1 "$work/err") == "SUMMARY: boxledger: gate $summary" ]] ||
        fail "$*: not '$summary' but: $(tail -n 5 "$work/err")"
}

# --- A first baseline.
gate 0 --baseline="$known" --update-baseline -- "$sandboxes" keeps_fd=4 keeps_map=2 twice=3
says 'has 3 findings now: 3 more, 0 gone'
says 'gate clean: 3 known'
first=$(<"$known")

# --- Known, new, grown, gone.
judged 0 'clean: 3 known' keeps_fd=4 keeps_map=2 twice=3
judged 0 'clean: 3 known' twice=1 keeps_map=1 keeps_fd=2
judged 1 'failed: 1 grown, 2 known' keeps_fd=5 keeps_map=2 twice=3
says 'Grown: 5 descriptors (memfd)'
says 'the baseline has 4'
judged 1 'failed: 1 grown, 2 known' keeps_fd=4 keeps_map=2 twice=4
judged 1 'failed: 1 new, 3 known' keeps_fd=4 keeps_map=2 twice=3 keeps_other=1
says 'New: 1 descriptor (eventfd)'
judged 0 'clean: 2 known, 1 gone' keeps_fd=4 twice=3
says 'Gone: leaked: 2 mappings (private anonymous memory), in keep_mapping'
judged 0 'clean: 3 gone' clean=3
judged 1 'failed: 1 new, 3 gone' keeps_other=1
[[ $(<"$known") == "$first" ]] || fail "a gate that was not told to has changed the baseline"

# --- The same thing from another function is another finding.
judged 1 'failed: 1 new, 2 known, 1 gone' keeps_more=4 keeps_map=2 twice=3
judged 1 'failed: 1 new, 3 known' keeps_fd=4 keeps_more=1 keeps_map=2 twice=3
says 'New: 1 descriptor (memfd) left behind by 1 api sandbox, in keep_more'

# --- Updating: more, fewer, and the same in the same words.
gate 0 --baseline="$known" --update-baseline -- "$sandboxes" twice=3 keeps_map=2 keeps_fd=4
[[ $(<"$known") == "$first" ]] || fail "the same findings make another file: $(cat "$known")"
gate 0 --baseline="$known" --update-baseline -- "$sandboxes" keeps_fd=9 keeps_other=1
says 'has 2 findings now: 1 more, 2 gone'
judged 0 'clean: 2 known' keeps_fd=9 keeps_other=1
gate 0 --baseline="$known" --update-baseline -- "$sandboxes" clean=2
says 'has 0 findings now: 0 more, 2 gone'
judged 1 'failed: 1 new' keeps_fd=1

# --- The file does not depend on what is told first, which is what there is most of.
gate 0 --baseline="$known" --update-baseline -- "$sandboxes" keeps_fd=9 keeps_more=1 keeps_map=1
sed 's/"count": .*//' "$known" >"$work/one"
gate 0 --baseline="$known" --update-baseline -- "$sandboxes" keeps_more=9 keeps_map=1 keeps_fd=1
sed 's/"count": .*//' "$known" | cmp - "$work/one" || fail "another order: $(cat "$known")"

# --- What grows is known by its rate, which is never quite the same, not by how much there is.
gate 0 --baseline="$known" --update-baseline -- "$sandboxes" grows=20
judged 0 'clean: 1 known' grows=60
judged 1 'failed: 1 grown' each=3 grows=20

# --- What a policy takes back was left behind: it is the same finding, however much it took back.
gate 0 --baseline="$known" --update-baseline -- "$sandboxes" keeps_fd=8
for reclaim in '' --reclaim; do
    gate 0 --baseline="$known" ${reclaim:+"$reclaim"} --settle-ms=0 -- "$sandboxes" keeps_fd=8
    says 'gate clean: 1 known'
    gate 1 --baseline="$known" ${reclaim:+"$reclaim"} --settle-ms=0 -- "$sandboxes" keeps_fd=9
    says 'gate failed: 1 grown'
    gate 0 --max-leaked=9 ${reclaim:+"$reclaim"} --settle-ms=0 -- "$sandboxes" keeps_fd=9
    says 'gate clean: 1 allowed'
done
# With some time for it, and two sandboxes or more that leave the same.
gate 0 --max-leaked=8 --reclaim --settle-ms=0 -- "$sandboxes" keeps_fd=8 sleeps=50 clean=20 \
    sleeps=50 clean=20
says 'gate clean: 1 allowed'
says '== policies: reclaim; reclaimed '

# --- A rebuild moves lines and addresses, and may clone functions; a link's target is replaced.
need_tool "${CC:-cc}"
gate 0 --baseline="$known" --update-baseline -- "$sandboxes" keeps_fd=4 keeps_map=2
for flags in '-O0 -g' '-O2 -g -DREBUILT' '-O2 -DREBUILT -no-pie'; do
    mkdir -p "$work/rebuilt"
    # shellcheck disable=SC2086
    "${CC:-cc}" -std=gnu17 -D_GNU_SOURCE $flags -I"$source/src" -o "$work/rebuilt/gate_sandboxes" \
        "$source/tests/system/gate_sandboxes.c" || fail "it does not compile with $flags"
    gate 0 --baseline="$known" -- "$work/rebuilt/gate_sandboxes" keeps_fd=4 keeps_map=2
    says 'gate clean: 2 known'
done
ln -s known.json "$work/link.json"
gate 0 --baseline="$work/link.json" --update-baseline -- "$sandboxes" keeps_other=2
[[ -L $work/link.json ]] || fail "the link was replaced, not what it leads to"
judged 0 'clean: 1 known' keeps_other=2

# --- Modes stay; a new one is as the umask says.
chmod 640 "$known"
gate 0 --baseline="$known" --update-baseline -- "$sandboxes" clean=1
[[ $(stat -c %a "$known") == 640 ]] || fail "the mode is $(stat -c %a "$known")"
(umask 027 && gate 0 --baseline="$work/new.json" --update-baseline -- "$sandboxes" clean=1)
[[ $(stat -c %a "$work/new.json") == 640 ]] || fail "a new one's mode is $(stat -c %a "$work/new.json")"
no_leftovers
