# gate_bad_baselines.sh: a baseline that does not parse, is another program's (or another script's),
# or a newer version's is a mistake that is told, in one line, before anything is started; nothing
# is overwritten.
. "$(dirname "$0")/harness.sh"
. "$source/tests/gate/gate.sh"
known=$work/known.json
mark=$work/started

# Both ways of using it refuse it, with these words, and leave it as it is.
refused() {
    local words=$1 before after option
    before=$(sha256sum <"$known")
    for option in --live --update-baseline; do
        gate 2 --baseline="$known" "$option" -- "$sandboxes" rarely="$mark"
        says "boxledger: --baseline: "
        says "$words"
        [[ $(wc -l <"$work/err") -eq 1 ]] || fail "not one line: $(cat "$work/err")"
        [[ ! -e $mark ]] || fail "$words: the command was started"
        after=$(sha256sum <"$known")
        [[ $before == "$after" ]] || fail "$words: the baseline was overwritten"
    done
}

printf '' >"$known" && refused 'known.json:1: not a baseline'
printf '{"boxledger_baseline": 1,\n "program": "gate_sandboxes",\n "findings": [\n' >"$known"
refused 'not a baseline'
grep -qE 'known.json:[34]:' "$work/err" || fail "it does not say which line"
head -c 3000 /dev/urandom >"$known" && refused 'not a baseline'
echo '[]' >"$known" && refused 'not a baseline: it has no boxledger_baseline'
echo '{"boxledger": 1}' >"$known" && refused 'not a baseline: it has no boxledger_baseline'
echo '{"boxledger_baseline": "1"}' >"$known" && refused 'it has no boxledger_baseline'
echo '{"boxledger_baseline": 1}' >"$known" && refused 'it has no program'
echo '{"boxledger_baseline": 1, "boxledger_baseline": 1}' >"$known" && refused 'duplicate'
echo '{"boxledger_baseline": 1, "program": "gate_sandboxes"}' >"$known"
refused 'it has no findings'

# A newer version, whatever it has; and another program's, whatever it has.
echo '{"boxledger_baseline": 2, "machines": []}' >"$known"
refused 'a baseline of version 2; this boxledger knows version 1'
echo '{"boxledger_baseline": 1, "program": "sleep", "findings": []}' >"$known"
refused 'the baseline of another program: of sleep, not of gate_sandboxes'

# What an interpreter runs is the program, whatever the interpreter is called and its options are.
named() { # NAME COMMAND...: this command's program is called so
    local name=$1
    shift
    gate 2 --baseline="$known" -- "$@"
    says "the baseline of another program: of sleep, not of $name"
    [[ $(tail -c $((${#name} + 4)) "$work/err") == "of $name" ]] ||
        fail "$*: not $name: $(cat "$work/err")"
}
mkdir -p "$work/scripts"
touch "$work/scripts/a.py" "$work/scripts/b.py"
(
    cd "$work/scripts"
    named a.py ./a.py
    named a.py python3 a.py
    named b.py python3 -B b.py a.py
    named a.py /usr/bin/python3.11 -X dev -Wonce "$work/scripts/a.py" --self-test b.py
    named pytest python3 -m pytest a.py
    named pytest python3 -Im pytest a.py
    named pytest python3 -mpytest
    named python3 python3 -c 'import a' a.py
    named python3 python3 -Bc 'import a' a.py
    named python3 python3 nonesuch.py
    named python3 python3 "$work/scripts"
    named python3 python3 -m
    named python3 python3
    named a.py bash -eo pipefail -- a.py
    named bash bash -ec ./a.py a.py
    named sh /bin/sh -c ./a.py
    named a.py perl -Ifile -w a.py
    named perl perl -we1 a.py
    named a.py node --inspect -r hook a.py
    # Others have files that say nothing about which program it is.
    named touch touch a.py
    named pythonic ./pythonic a.py
)
# And it is looked at with that name: the same script is known again, another refused.
cat >"$work/scripts/a.py" <<END
import subprocess
subprocess.run(["$sandboxes", "keeps_fd=1"], check=True)
END
cp "$work/scripts/a.py" "$work/scripts/b.py"
gate 0 --follow --baseline="$work/script.json" --update-baseline -- python3 "$work/scripts/a.py"
gate 0 --follow --baseline="$work/script.json" -- python3 -B "$work/scripts/a.py"
says 'gate clean: 1 known'
gate 2 --follow --baseline="$work/script.json" -- python3 "$work/scripts/b.py"
says 'the baseline of another program: of a.py, not of b.py'

finding() { # KEYS: a baseline with this one finding, behind a good one
    printf '{"boxledger_baseline": 1, "program": "gate_sandboxes", "findings": [%s, %s]}\n' \
        '{"verdict": "leaked", "resource": "fd", "what": "a", "count": 1, "stack": []}' "$1" \
        >"$known"
}
good='"verdict": "leaked", "resource": "fd", "what": "memfd"'
finding 7 && refused 'finding 2: not an object'
finding '{"verdict": "leaked", "resource": 3}' && refused 'finding 2: verdict, resource and what'
finding "{$good, \"count\": \"2\", \"stack\": []}" && refused 'finding 2: count is no number'
finding "{$good, \"count\": -2, \"stack\": []}" && refused 'finding 2: count is no number'
finding "{$good, \"count\": 2}" && refused 'finding 2: stack is no list'
finding "{$good, \"count\": 2, \"stack\": [1]}" && refused 'finding 2: stack holds names'
finding "{$good, \"count\": 2, \"stack\": [], \"rate\": {}}" && refused 'finding 2: rate is no number'
finding '{"verdict": "leaked", "resource": "fd", "what": "a", "count": 2, "stack": []}'
refused 'a finding is listed twice: a'

# What is no file to read.
rm "$known" && mkdir "$known" && gate 2 --baseline="$known" -- "$sandboxes" rarely="$mark"
says 'not a regular file'
rmdir "$known" && mkfifo "$known" && gate 2 --baseline="$known" -- "$sandboxes" rarely="$mark"
says 'not a regular file'
rm "$known"
if [[ $(id -u) -ne 0 ]]; then
    : >"$known" && chmod 0 "$known"
    gate 2 --baseline="$known" -- "$sandboxes" rarely="$mark"
    says 'Permission denied'
    rm -f "$known"
fi
[[ ! -e $mark ]] || fail "the command was started"

# What a version 1 may have more is passed over, and verdicts that nobody knows are simply gone.
finding "{$good, \"count\": 9, \"stack\": [\"keep_descriptor\", \"run_sandbox\", \"main\"], \"by\": 3}"
gate 0 --baseline="$known" -- "$sandboxes" keeps_fd=9
says 'gate clean: 1 known, 1 gone'
no_leftovers
