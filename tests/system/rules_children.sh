# rules_children.sh: under `owner child exe=PATTERN` only children that run such a program are
# sandboxes; what the others leave is the supervisor's.
. "$(dirname "$0")/harness.sh"
need_tool jq

# report RULE: the report of the children under it is in $work/json.
report() {
    printf '%s\n' "$1" >"$work/rules"
    run --live --format=json --report="$work/json" --rules="$work/rules" --settle-ms=0 -- \
        "$programs/rules_children" >"$work/out" 2>"$work/err" || fail "status $?: $(<"$work/err")"
    [[ $(<"$work/out") == "done" && ! -s $work/err ]] || fail "it said: $(cat "$work/out" "$work/err")"
}
# expect SANDBOXES LEFT
expect() {
    local got
    got=$(json "$work/json" '[.totals.owners_begun, .totals.owners_ended,
        ([.findings[] | select(.verdict == "leaked") | .count] | add // 0),
        ([.live[] | select(.resource == "fd") | .count] | add // 0)] | join(" ")')
    [[ $got == "$1 $1 $2 2" ]] || fail "$(<"$work/rules"): begun, ended, left, held: $got; not $1 $1 $2 2"
    [[ $(json "$work/json" '.owners | map(select(.kind != "child")) | length') -eq 0 ]] ||
        fail "owners of no kind: $(json "$work/json" .owners)"
}

report '# none'
expect 20 2
report 'owner child exe=true'
expect 8 1
report 'owner child exe=sh'
expect 8 1
# What was looked up in PATH is known by its name alone.
report 'owner child exe=/bin/[st]*'
expect 8 2
report 'owner child exe=nothing'
expect 0 0
