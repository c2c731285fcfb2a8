# gate_annotations.sh: where GITHUB_ACTIONS is true, findings are on standard output as the
# service's workflow commands, with the file and line below the checked out tree.
. "$(dirname "$0")/harness.sh"
. "$source/tests/gate/gate.sh"
need_tool "${CC:-cc}"

# A project: a tree with a source, built in another folder of it, by a path of its own.
mkdir -p "$work/tree/src" "$work/tree/out"
cp "$source/tests/system/gate_sandboxes.c" "$work/tree/src/boxes, 100%.c"
(cd "$work/tree/out" && "${CC:-cc}" -std=gnu17 -D_GNU_SOURCE -g -O1 -I"$source/src" \
    -o gate_sandboxes '../src/boxes, 100%.c')
line=$(grep -n 'memfd_create("kept"' "$work/tree/src/boxes, 100%.c" | head -n 1 | cut -d: -f1)
export GITHUB_WORKSPACE=$work/tree
cd "$work/tree"
annotations() {
    grep '^::' "$work/out" || true
}

# Nowhere else.
gate 1 -- out/gate_sandboxes keeps_fd=2
[[ ! -s $work/out ]] || fail "annotations where there is no GitHub: $(cat "$work/out")"
GITHUB_ACTIONS=false gate 1 -- out/gate_sandboxes keeps_fd=2
[[ ! -s $work/out ]] || fail "annotations where it is false"

export GITHUB_ACTIONS=true
gate 1 -- out/gate_sandboxes keeps_fd=2
expected="::error title=boxledger%3A leaked%2C new,file=src/boxes%2C 100%25.c,line=$line::"
expected+="2 descriptors (memfd) left behind by 2 api sandboxes, in keep_descriptor"
expected+=" (src/boxes, 100%25.c:$line)"
[[ $(<"$work/out") == "$expected" ]] || fail "not: $expected; but: $(cat "$work/out")"
gate 0 -- out/gate_sandboxes clean=1
[[ ! -s $work/out ]] || fail "clean, and yet: $(cat "$work/out")"

# From elsewhere, and from a run in a file: the same.
(cd / && gate 1 --report="$work/report.sarif" -- "$work/tree/out/gate_sandboxes" keeps_fd=2)
[[ $(<"$work/out") == "$expected" ]] || fail "from elsewhere: $(cat "$work/out")"
grep -qF '"uri": "src/boxes%2C%20100%25.c"' "$work/report.sarif" || fail "SARIF has another path"
grep -qF '"uriBaseId": "%SRCROOT%"' "$work/report.sarif" || fail "SARIF does not say below what"

# Known ones are not told, gone ones are a notice, grown ones an error.
gate 0 --baseline=known.json --update-baseline -- out/gate_sandboxes keeps_fd=2 keeps_map=1
gate 0 --baseline=known.json -- out/gate_sandboxes keeps_fd=2 keeps_map=1
[[ ! -s $work/out ]] || fail "known, and yet: $(cat "$work/out")"
gate 1 --baseline=known.json -- out/gate_sandboxes keeps_fd=3
grep -q '^::error title=boxledger%3A leaked%2C grown,file=src/' "$work/out" || fail "no grown one"
grep -q '^::notice title=boxledger%3A leaked%2C gone::' "$work/out" || fail "no gone one"
[[ $(annotations | wc -l) -eq 2 ]] || fail "more than two: $(cat "$work/out")"

# A command that failed is an error without a line; what has no source in the tree has none.
gate 3 -- out/gate_sandboxes exit=5
[[ $(<"$work/out") == '::error title=boxledger%3A no verdict::out/gate_sandboxes exited with status 5' ]] ||
    fail "a command that failed: $(cat "$work/out")"
gate 3 -- "$programs/static_program"
grep -q '^::error title=boxledger%3A no verdict::.*statically linked' "$work/out" ||
    fail "a static program: $(cat "$work/out")"
mv src elsewhere
gate 1 -- out/gate_sandboxes keeps_fd=2
grep -q '^::error title=boxledger%3A leaked%2C new::2 descriptors' "$work/out" ||
    fail "without its source: $(cat "$work/out")"

# A name cannot write a command of its own.
mv out/gate_sandboxes "out/a
::error::b"
gate 3 -- "out/a
::error::b" exit=5
[[ $(annotations | wc -l) -eq 1 ]] || fail "a name wrote an annotation: $(cat "$work/out")"
