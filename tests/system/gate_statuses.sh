# gate_statuses.sh: 0 is clean, 1 findings, 2 a mistake in the command line, 3 no verdict: the same
# whatever ends the command, which gets its report all the same.
. "$(dirname "$0")/harness.sh"
. "$source/tests/gate/gate.sh"

# --- 0 and 1
gate 0 -- "$sandboxes" clean=3
[[ $(tail -n 1 "$work/err") == 'SUMMARY: boxledger: gate clean' ]] || fail "$(tail -n 1 "$work/err")"
says 'nothing left behind by 3 sandboxes'
for what in keeps_fd=1 keeps_map=1 twice=1 grows=20; do
    gate 1 -- "$sandboxes" clean=1 "$what"
    [[ $(tail -n 1 "$work/err") == 'SUMMARY: boxledger: gate failed: 1 new' ]] ||
        fail "$what: $(tail -n 1 "$work/err")"
done
gate 1 -- "$sandboxes" keeps_fd=2 keeps_map=3
says 'New: 2 descriptors (memfd) left behind by 2 api sandboxes, in keep_descriptor'
says 'New: 3 mappings (private anonymous memory) left behind by 3 api sandboxes, in keep_mapping'
[[ ! -s $work/out ]] || fail "it writes to standard output, which is the command's"
# The keys of the environment are the same, and others' are passed over.
BOXLEDGER_OPTIONS=error_exitcode=9:max_leaked=5 gate 0 -- "$sandboxes" keeps_fd=2

# What never fails is told.
gate 0 --report="$work/told.xml" -- "$programs/foreign_close" - foreign
says "Told: another sandbox's descriptor closed, 3 times"
says 'gate clean: 1 told'
grep -q '<skipped message="told: another' "$work/told.xml" || fail "JUnit does not tell it"

# --- 3: the command failed. With findings as well: what was found is told, and is no verdict.
ended() { # WORDS ARGUMENT...
    local words=$1
    shift
    rm -f "$work"/report.*
    gate 3 --report="$work/report.txt" --report="$work/report.json" --report="$work/report.xml" \
        --report="$work/report.sarif" -- "$sandboxes" "$@"
    says "No verdict: $sandboxes $words"
    says 'SUMMARY: boxledger: gate without verdict'
    grep -q '^SUMMARY: boxledger: [0-9n]' "$work/report.txt" || fail "$*: no report"
    [[ $(tail -n 1 "$work/report.txt") == 'SUMMARY: boxledger: gate without verdict'* ]] ||
        fail "$*: $(tail -n 1 "$work/report.txt")"
    grep -qF "$words" "$work/report.xml" || fail "$*: JUnit does not say why"
    grep -q '"result": "no-verdict"' "$work/report.json" || fail "$*: JSON says otherwise"
    grep -q '"executionSuccessful": false' "$work/report.sarif" || fail "$*: SARIF says otherwise"
}
ended 'exited with status 7' clean=2 exit=7
ended 'exited with status 1' exit=1
ended 'exited with status 7' keeps_fd=2 exit=7
says 'New: 2 descriptors'
for signal in 6 9 11 15; do
    ended "was ended by signal $signal" keeps_fd=2 signal="$signal"
done

# --- 3: it was never watched, or not to its end. Never clean, and one clear line.
printf '#!%s\n' "$programs/static_program" >"$work/script" && chmod 755 "$work/script"
for program in "$programs/static_program" "$work/script" "$work/nonesuch" "$work"; do
    rm -f "$work"/report.*
    gate 3 -- "$program"
    [[ $(wc -l <"$work/err") -eq 1 ]] || fail "$program: not one line: $(cat "$work/err")"
    says_not clean
    gate 3 --report="$work/report.xml" -- "$program"
    grep -q '<error ' "$work/report.xml" || fail "$program: JUnit does not say so"
done
says 'irectory'
gate 3 -- "$programs/static_program"
says 'is statically linked'
gate 3 --report="$work/report.xml" -- "$sandboxes" clean=1 execs="$programs/static_program"
says 'No verdict:'
says 'static_program, into which boxledger could not be loaded'
says_not clean
(
    ulimit -f 100
    gate 3 -- "$sandboxes" clean=1
    says 'no space for the ledger'
)

# --- 3: not all of it could be recorded, so that there may be more than was found.
(
    echo 'leak:keep_mapping' >"$work/supp"
    ulimit -f 3000
    gate 3 --suppressions="$work/supp" -- "$sandboxes" keeps_map=5000
    says 'is incomplete: some records found no room'
    says_not clean
)

# --- 3: the result could not be written.
if [[ -c /dev/full ]]; then
    gate 3 --report=/dev/full -- "$sandboxes" clean=1
    says '/dev/full'
fi

# --- A gate on nothing says that it is one, and is none where there have to be sandboxes.
gate 0 -- "$sandboxes"
says 'Doubt: no sandbox has ended'
gate 0 --min-sandboxes=3 -- "$sandboxes" clean=3
says_not Doubt
gate 3 --min-sandboxes=4 -- "$sandboxes" clean=3
says 'No verdict: 3 sandboxes have ended, not 4 or more'

# --- 2: mistakes. Nothing is started, nothing is left behind.
mark=$work/started
refuses() { # WORDS ARGUMENT...
    local words=$1
    shift
    gate 2 "$@"
    says "$words"
    [[ $(wc -l <"$work/err") -eq 1 ]] || fail "$*: not one line: $(cat "$work/err")"
    [[ ! -e $mark ]] || fail "$*: the command was started"
}
refuses 'which program'
refuses '--frobnicate' --frobnicate touch "$mark"
refuses '--error-exitcode' --error-exitcode=4 touch "$mark"
refuses 'formats are text, json, junit and sarif' --format=html touch "$mark"
refuses 'any of the runs, or in all' --found-in=some touch "$mark"
refuses '1 to 1000' --repeat=0 touch "$mark"
refuses 'number' --max-leaked=few touch "$mark"
refuses 'which one? --baseline=FILE' --update-baseline touch "$mark"
refuses 'none/report' --report="$work/none/report" touch "$mark"
refuses 'irectory' --report="$work/r" --report="$work" touch "$mark"
refuses 'none' --suppressions="$work/none" touch "$mark"
refuses 'none' --baseline="$work/none" touch "$mark"
refuses 'none/baseline' --baseline="$work/none/baseline" --update-baseline touch "$mark"
echo precious >"$work/saved.2"
refuses 'saved.2' --ledger="$work/saved" --repeat=2 touch "$mark"
[[ ! -e $work/r && ! -e $work/saved.1 && $(<"$work/saved.2") == precious ]] ||
    fail "a gate that was not begun wrote something"
for only in --baseline=x --repeat=2 --update-baseline --max-leaked=1; do
    got=0
    run "$only" -- touch "$mark" 2>"$work/err" || got=$?
    [[ $got -eq 2 && ! -e $mark ]] || fail "run $only: status $got"
done
no_leftovers
