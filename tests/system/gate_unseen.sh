# gate_unseen.sh: what no call that boxledger sees has taken, and what becomes more with each sandbox
# all the same, makes the gate fail, without a stack, in every format.
. "$(dirname "$0")/harness.sh"
. "$source/tests/gate/gate.sh"
need_tool jq
# It is counted from outside, now and then: on a busy machine one run may show too little of it.
gate 1 --repeat=3 --report="$work/r.json" --report="$work/r.xml" --report="$work/r.sarif" -- \
    "$sandboxes" unseen=250
says 'New: 250 descriptors (memfd:unseen) and growing'
[[ $(json "$work/r.json" '.findings[0] | "\(.verdict) \(.what) \(.stack | length)"') == \
    'growing memfd:unseen 0' ]] || fail "JSON: $(head -c 600 "$work/r.json")"
grep -q '<testcase classname="boxledger.growing" name="memfd:unseen"' "$work/r.xml" ||
    fail "JUnit: $(cat "$work/r.xml")"
# A service takes no result that is in no file: it is in the program's.
[[ $(json "$work/r.sarif" '.runs[0].results[0].locations[0].physicalLocation.artifactLocation.uri') \
    == file://*/gate_sandboxes ]] || fail "SARIF: it is in no file"
