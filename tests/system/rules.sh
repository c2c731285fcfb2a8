# rules.sh: what the lines of --rules=FILE do, and what is said of lines that are wrong.
. "$(dirname "$0")/harness.sh"
need_tool jq
need_command

# report RULES...: runs the threads under these rules; the report is in $work/json.
report() {
    printf '%s\n' "$@" >"$work/rules"
    run --live --format=json --report="$work/json" --rules="$work/rules" -- \
        "$programs/rules_threads" >"$work/out" 2>"$work/err" || fail "status $?: $(<"$work/err")"
    [[ $(<"$work/out") == "done" && ! -s $work/err ]] || fail "it said: $(cat "$work/out" "$work/err")"
}
owners() {
    json "$work/json" '[.owners[] | select(.kind == "thread") |
        "\(.label)=\(.state):\(.fds)"] | sort | join(" ")'
}
leaked() { json "$work/json" '[.findings[] | select(.verdict == "leaked") | .count] | add // 0'; }
held() { json "$work/json" '[.live[] | select(.resource == "fd") | .count] | add // 0'; }

# No such rule: no thread is a sandbox.
report '# nothing' ''
[[ $(json "$work/json" .totals.owners_begun) -eq 0 ]] || fail "sandboxes without a rule"
all=$(held)

report '  # threads of machines' 'owner thread  name=vm-*  '
expected="vm-idle=ended:2 vm-other=ended:1 vm-raw=ended:1 vm-self=ended:1"
[[ $(owners) == *"$expected"* ]] || fail "sandboxes: $(owners); not $expected"
[[ $(json "$work/json" .totals.owners_begun) -eq 5 && $(json "$work/json" .totals.owners_ended) -eq 5 ]] ||
    fail "not 5 begun and ended: $(json "$work/json" .totals)"
[[ $(leaked) -eq 5 ]] || fail "$(leaked) left behind, not 5"
[[ $(json "$work/json" '[.findings[].owner_kind] | unique | join(" ")') == thread ]] ||
    fail "other kinds: $(json "$work/json" '[.findings[].owner_kind]')"

# The stack that is ignored; the same by its object; what is no such stack stays.
report 'owner thread name=vm-*' 'ignore stack=is_renamed'
[[ $(leaked) -eq 3 ]] || fail "ignore stack: $(leaked) left behind, not 3"
report 'owner thread name=vm-*' 'ignore stack=rules_threads'
[[ $(leaked) -eq 0 && $(held) -eq 0 ]] || fail "ignore stack by object: $(leaked), $(held) held"
report 'owner thread name=vm-*' 'ignore stack=is_rename' 'ignore resource=/dev/nul'
[[ $(leaked) -eq 5 ]] || fail "a part of a name is no match: $(leaked) left"
report 'owner thread name=vm-*' 'ignore resource=/dev/nul*'
[[ $(leaked) -eq 0 ]] || fail "ignore resource: $(leaked) left behind"
((all >= 8)) || fail "only $all descriptors were held in the first place"

# Bare, the same file serves; the report at exit knows these sandboxes.
printf 'owner thread name=vm-*\n' >"$work/rules"
LD_PRELOAD=$shim BOXLEDGER_OPTIONS="rules=$work/rules" "$programs/rules_threads" \
    >"$work/out" 2>"$work/err" || fail "bare: status $?"
grep -q "^SUMMARY: boxledger: 5 descriptors left behind by 4 of 5 sandboxes" "$work/err" ||
    fail "bare: $(tail -n 1 "$work/err")"

# wrong LINE WHAT RULES...: the command says so and runs nothing; the shim goes on without it.
wrong() {
    local line=$1 what=$2 status=0
    shift 2
    printf '%b' "$@" >"$work/rules"
    run --rules="$work/rules" -- touch "$work/ran" >"$work/out" 2>"$work/err" || status=$?
    [[ $status -eq 2 && ! -e $work/ran ]] || fail "$what: status $status"
    [[ $(<"$work/err") == "boxledger: $work/rules:$line: $what" ]] ||
        fail "$what: it says: $(<"$work/err")"
    LD_PRELOAD=$shim BOXLEDGER_OPTIONS="rules=$work/rules" "$programs/rules_threads" \
        >"$work/out" 2>"$work/err" || fail "$what: bare: status $?"
    grep -qxF "boxledger: warning: $work/rules:$line: $what; ignored" "$work/err" ||
        fail "$what: bare it says: $(head -n 2 "$work/err")"
}
wrong 1 'no rule begins like this: owner, ignore or #' 'leak:something\n'
wrong 3 'neither owner child exe=PATTERN nor owner thread name=PATTERN' '# one\n\nowner thread exe=vm\n'
wrong 1 'neither owner child exe=PATTERN nor owner thread name=PATTERN' 'owner vm name=x'
wrong 2 'the pattern is empty' 'owner thread name=vm-*\nignore stack=\n'
wrong 2 'neither ignore stack=PATTERN nor ignore resource=PATTERN' '\nignore object=x\n'
wrong 65 'more than 64 rules' "$(for _ in {1..65}; do printf 'ignore stack=x\\n'; done)"
wrong 1 'the file has more than 8,192 bytes' "#$(printf '%09000d' 0)"

# A good line beside a bad one counts, bare.
printf 'owner thread name=vm-*\nnonsense\n' >"$work/rules"
LD_PRELOAD=$shim BOXLEDGER_OPTIONS="rules=$work/rules" "$programs/rules_threads" \
    >"$work/out" 2>"$work/err" || fail "bare: status $?"
grep -q "left behind by 4 of 5 sandboxes" "$work/err" || fail "the good line: $(<"$work/err")"

# A file that is not there.
status=0
run --rules="$work/none" -- true 2>"$work/err" || status=$?
[[ $status -eq 2 && $(<"$work/err") == "boxledger: --rules: $work/none: No such file or directory" ]] ||
    fail "no file: status $status: $(<"$work/err")"
LD_PRELOAD=$shim BOXLEDGER_OPTIONS="rules=$work/none" "$programs/rules_threads" >"$work/out" 2>"$work/err" ||
    fail "no file, bare: status $?"
grep -q "^boxledger: warning: the rules $work/none cannot be read; ignored" "$work/err" ||
    fail "no file, bare: $(<"$work/err")"

# By a relative name, in a program that goes elsewhere first.
printf 'owner thread name=vm-*\n' >"$work/rules"
# shellcheck disable=SC2016 # for the inner shell
(cd "$work" && run --format=json --report="$work/json" --rules=rules -- \
    sh -c 'cd / && exec "$0"' "$programs/rules_threads" >/dev/null) || fail "a relative name: status $?"
[[ $(json "$work/json" .totals.owners_begun) -eq 5 ]] || fail "a relative name: the rules were lost"
