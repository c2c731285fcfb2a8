# foreign_close.sh: a close in one sandbox's scope of what is another's that lives is told, with who
# took it and who closed it; in its own scope, after its end or in no scope it is not.
. "$(dirname "$0")/harness.sh"
need_command
need_tool python3

told() { # HOW: the findings of that run, as VERDICT COUNT TAKER CLOSER
    run --format=json --report="$work/$1.json" -- "$programs/foreign_close" - "$1" ||
        fail "$1: status $?"
    python3 - "$work/$1.json" <<'PYTHON'
import json
import sys

with open(sys.argv[1]) as f:
    for finding in json.load(f)["findings"]:
        stacks = [finding["stack"], *finding["released_by"]]
        functions = [
            next((name for name in ("take_for", "close_it")
                  if any(frame["function"] == name for frame in stack)), "?")
            for stack in stacks
        ]
        print(finding["verdict"], finding["count"], *functions)
PYTHON
}

got=$(told foreign)
[[ $got == "foreign-close 3 take_for close_it" ]] || fail "foreign: '$got'"
for how in own ended outside; do
    got=$(told "$how")
    [[ -z $got ]] || fail "$how: '$got'"
done
