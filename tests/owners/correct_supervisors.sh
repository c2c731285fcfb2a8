# correct_supervisors.sh: supervisors that release everything, in every legal order, are accused of
# nothing; and there are as many owners as sandboxes. BOXLEDGER_LONG=1: 10,000 sandboxes of a kind.
# shellcheck source=tests/system/harness.sh disable=SC2154
. "$(dirname "$0")/../system/harness.sh"
need_command
need_tool python3
seed=${BOXLEDGER_SEED:-$((RANDOM * 32768 + RANDOM + 1))}
count=300
[[ $long != 1 ]] || count=10000
echo "BOXLEDGER_SEED=$seed"
export BOXLEDGER_BUILD=$build BOXLEDGER_SOURCE=$source BOXLEDGER_SHIM=$shim BOXLEDGER_FAULT=$fault
judge_py=$(dirname "$0")/judge.py
supervise=$build/tests/owners/supervise

skipped='' wrong=0
for kind in kvm seccomp child api; do
    got=0
    timeout 600 "$supervise" --kind=$kind --count=300 --seed="$seed" >"$work/said" 2>&1 || got=$?
    cat "$work/said"
    if [[ $got -eq 77 ]]; then
        skipped="$kind: $(sed -n 's/^skip: //p' "$work/said")"
        continue
    fi
    [[ $got -eq 0 ]] || fail "$kind is not correct without the shim: status $got"
    python3 "$judge_py" correct --kind=$kind --count=$count --seed="$seed" || wrong=1
    python3 "$judge_py" correct --kind=$kind --count=100 --seed=$((seed + 1)) --keep || wrong=1
    python3 "$judge_py" correct --kind=$kind --count=100 --seed=$((seed + 2)) --keep --live ||
        wrong=1
done
[[ $wrong -eq 0 ]] || fail "correct supervisors were accused, see above"
[[ -z $skipped ]] || skip "$skipped; the others were silent"
