# every_promise_can_break.sh: a test that cannot fail is a bug. Runs each test on a shim that
# breaks its promise (faults.txt) and demands that it fails, hanging included. With arguments:
# only those faults.
. "$(dirname "$0")/harness.sh"
[[ -e $faulty ]] || fail "no faulty shim at $faulty"
[[ $fault == '' ]] || fail "a fault within a fault"
here=$(dirname "$0") bad='' count=0
declare -A sound

# A test that fails anyway shows nothing: once for each, on the faulty shim with no fault named.
without_fault() {
    [[ -n ${sound[$1]:-} ]] && return "${sound[$1]}"
    for _ in first again; do # once more on a busy machine, and said so
        sound[$1]=0
        BOXLEDGER_FAULT=none timeout -k 5 100 bash "$here/$1.sh" </dev/null >"$work/out" 2>&1 ||
            sound[$1]=$?
        [[ ${sound[$1]} -ne 0 && ${sound[$1]} -ne 77 ]] || break
        echo "$1: failed once without any fault: $(tail -n 1 "$work/out")"
    done
    return "${sound[$1]}"
}

while IFS='|' read -r name tests breaks; do
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
        got=0
        without_fault "$test" || got=$?
        if [[ $got -ne 0 && $got -ne 77 ]]; then
            echo "$name: $test fails without any fault:"
            tail -n 20 "$work/out"
            bad="$bad $name:$test"
            continue
        fi
        got=0
        BOXLEDGER_FAULT=$name BOXLEDGER_TEST_SECONDS=20 \
            timeout -k 5 100 bash "$here/$test.sh" </dev/null >"$work/out" 2>&1 || got=$?
        count=$((count + 1))
        case $got in
        0) echo "$name: $test does not notice ($breaks )" && bad="$bad $name:$test" ;;
        77) echo "$name: $test skips: $(tail -1 "$work/out")" ;;
        *) echo "$name: $test fails, as it should ($got)" ;;
        esac
    done
done <"$here/faults.txt"
[[ $count -gt 0 ]] || fail "no fault of that name"
[[ $bad == '' ]] || fail "not noticed or missing:$bad"
