# found.sh: what the tests share that show each detection by one mutant; sourced by them. They are
# short, and the same each time, since they are run once for each fault of their detections
# (tests/system/faults.txt); mutants.sh is for all mutants.
# shellcheck shell=bash disable=SC2154
# shellcheck source=tests/system/harness.sh
. "$(dirname "${BASH_SOURCE[0]}")/../system/harness.sh"
need_command
need_tool python3
export BOXLEDGER_BUILD=$build BOXLEDGER_SOURCE=$source BOXLEDGER_SHIM=$shim BOXLEDGER_FAULT=$fault
export BOXLEDGER_COMMAND=$boxledger
judge_py=$(dirname "${BASH_SOURCE[0]}")/judge.py
seed=7

judged() { # ARGUMENT...: of judge.py
    local got=0
    timeout "$limit" python3 "$judge_py" "$@" >"$work/judged" 2>&1 || got=$?
    [[ $got -ne 77 ]] || skip "$(tail -n 1 "$work/judged" | sed 's/.*skip: //')"
    [[ $got -eq 0 ]] || fail "$*: $(tail -n 3 "$work/judged")"
}

# found SITE...: the mutant that leaves out this release has its finding, and no other.
found() {
    local site
    for site; do
        judged mutant --site="$site" --count=12 --seed=$seed
    done
}

# grows SCENARIO ENDS: what becomes more is found by its rate.
grows() {
    judged growth --scenario="$1" --ends="$2"
}
