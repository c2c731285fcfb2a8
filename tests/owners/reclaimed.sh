# reclaimed.sh: with reclaim on, correct supervisors lose nothing, whatever their order of release,
# their pools and what they share; and of a mutant is taken what it leaves, and nothing else.
# BOXLEDGER_LONG=1: 1,000 sandboxes of a kind, 1,000 mutants; some 10 minutes on two processors.
# shellcheck source=tests/system/harness.sh disable=SC2154
. "$(dirname "$0")/../system/harness.sh"
need_command
need_tool python3
seed=${BOXLEDGER_SEED:-$((RANDOM * 32768 + RANDOM + 1))}
count=150 number=24 times='30' jobs=4
[[ $long != 1 ]] || count=1000 number=1000 times='1 30 1000' jobs=$((6 * $(nproc)))
echo "BOXLEDGER_SEED=$seed"
export BOXLEDGER_BUILD=$build BOXLEDGER_SOURCE=$source BOXLEDGER_SHIM=$shim BOXLEDGER_FAULT=$fault
judge_py=$(dirname "$0")/judge.py

skipped='' wrong=0
for settle_ms in $times; do
    for kind in kvm seccomp child api; do
        got=0
        python3 "$judge_py" correct --kind=$kind --count=$count --seed="$seed" \
            --reclaim="$settle_ms" >"$work/said" || got=$?
        cat "$work/said"
        [[ $got -ne 77 ]] || skipped="$kind: $(sed -n 's/^skip: //p' "$work/said")"
        [[ $got -eq 0 || $got -eq 77 ]] || wrong=1
        python3 "$judge_py" correct --kind=$kind --count=50 --seed=$((seed + 1)) --keep --live \
            --reclaim="$settle_ms" || [[ $? -eq 77 ]] || wrong=1
    done
done
[[ $wrong -eq 0 ]] || fail "correct supervisors lost something or were accused, see above"
got=0
python3 "$judge_py" mutants --number=$number --seed="$seed" --reclaim=30 --jobs=$jobs || got=$?
[[ $got -eq 0 || $got -eq 77 ]] || fail "see above"
[[ -z $skipped && $got -eq 0 ]] || skip "$skipped; the others were well"
