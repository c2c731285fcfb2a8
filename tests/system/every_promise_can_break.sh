# every_promise_can_break.sh: a test that cannot fail is a bug. Runs each test on a shim that
# breaks its promise (faults.txt) and demands that it fails, hanging included. With arguments:
# only those faults.
#
# The tests mostly sleep, so several run at a time, each in a directory of its own; what they came to
# is told afterwards, in the order of faults.txt. What is not as it should be then runs once more
# alone, on a machine that is less busy, and that is said, too.
. "$(dirname "$0")/harness.sh"
[[ -e $faulty ]] || fail "no faulty shim at $faulty"
[[ $fault == '' ]] || fail "a fault within a fault"
unset BOXLEDGER_LONG # what breaks shows in the short forms
here=$(dirname "$0") bad='' count=0
at_once=4
control_seconds=100 # a program's, without a fault
fault_seconds=20    # with one: what hangs need not hang for long
runs=()             # "FAULT TEST[:ARGUMENT] SECONDS", controls first
breaks=()           # of the same numbers
declare -A control  # the number of the run without a fault, by test
export here work

# attempt NUMBER FAULT TEST[:ARGUMENT] SECONDS: its output and its status are $work/NUMBER.*
# What a test leaves that had to be killed lies in $work, too.
attempt() {
    local got=0 argument=${3#"${3%%:*}"} temporary=$work/$1.tmp
    mkdir -m 1777 "$temporary"
    { # without the shell's own word on what had to be killed
        env -u BASH_FUNC_attempt%% -u here -u work TMPDIR="$temporary" \
            BOXLEDGER_FAULT="$2" BOXLEDGER_TEST_SECONDS="$4" timeout -k 5 100 \
            bash "$here/${3%%:*}.sh" ${argument:+"${argument#:}"} \
            </dev/null >"$work/$1.out" 2>&1 || got=$?
    } 2>/dev/null
    rm -rf "$temporary"
    echo $got >"$work/$1.status"
}
export -f attempt

# right NUMBER: a control must pass, and any other must not. What skips shows nothing, but is right.
right() {
    local got fault_of
    got=$(<"$work/$1.status")
    read -r fault_of _ <<<"${runs[$1]}"
    [[ $got -eq 77 ]] || { [[ $fault_of == none ]] && [[ $got -eq 0 ]]; } ||
        { [[ $fault_of != none ]] && [[ $got -ne 0 ]]; }
}

number=0
pairs=()
while IFS='|' read -r name tests broken; do
    name=${name// /}
    [[ $name == '' || $name == \#* ]] && continue
    [[ $# -gt 0 && " $* " != *" $name "* ]] && continue
    # A fault that nobody wrote shows nothing: its name must be in the faulty shim or command.
    if ! grep -aq "$name" "$faulty" "$build/boxledger-faulty"; then
        echo "$name: neither in the faulty shim nor in the faulty command"
        bad="$bad $name"
        continue
    fi
    for test in $tests; do
        # A test that fails anyway shows nothing: once for each, on the faulty shim with no fault.
        if [[ -z ${control[$test]:-} ]]; then
            control[$test]=$number
            runs[number++]="none $test $control_seconds"
        fi
        pairs+=("$name $test $fault_seconds|$broken")
    done
done <"$here/faults.txt"
first_pair=$number
for pair in ${pairs[@]+"${pairs[@]}"}; do
    runs[number]=${pair%%|*}
    breaks[number++]=${pair#*|}
done
[[ ${#pairs[@]} -gt 0 || $bad != '' ]] || fail "no fault of that name"

for number in ${runs[@]+"${!runs[@]}"}; do
    echo "$number ${runs[number]}"
done | xargs -r -P "$at_once" -L 1 bash -c 'attempt "$@"' attempt

for number in ${runs[@]+"${!runs[@]}"}; do
    right "$number" && continue
    echo "${runs[number]% *}: $(<"$work/$number.status") beside others; once more, alone:" \
        "$(tail -n 1 "$work/$number.out")"
    # shellcheck disable=SC2086 # the words of a run
    attempt "$number" ${runs[number]}
done

for ((number = first_pair; number < ${#runs[@]}; number++)); do
    read -r name test _ <<<"${runs[number]}"
    if ! right "${control[$test]}"; then
        echo "$name: $test fails without any fault:"
        tail -n 20 "$work/${control[$test]}.out"
        bad="$bad $name:$test"
        continue
    fi
    got=$(<"$work/$number.status")
    count=$((count + 1))
    case $got in
    0) echo "$name: $test does not notice (${breaks[number]} )" && bad="$bad $name:$test" ;;
    77) echo "$name: $test skips: $(tail -n 1 "$work/$number.out")" ;;
    *) echo "$name: $test fails, as it should ($got)" ;;
    esac
done
[[ $bad == '' ]] || fail "not noticed or missing:$bad"
[[ $count -gt 0 ]] || fail "nothing was broken"
