# mutants.sh: a supervisor that leaves out one of its releases has exactly the finding that this
# makes: verdict, resource, count, owners, kind and stack. BOXLEDGER_LONG=1: 1,000 mutants.
# shellcheck source=tests/system/harness.sh disable=SC2154
. "$(dirname "$0")/../system/harness.sh"
need_command
need_tool python3
seed=${BOXLEDGER_SEED:-$((RANDOM * 32768 + RANDOM + 1))}
number=40
[[ $long != 1 ]] || number=1000
echo "BOXLEDGER_SEED=$seed"
export BOXLEDGER_BUILD=$build BOXLEDGER_SOURCE=$source BOXLEDGER_SHIM=$shim BOXLEDGER_FAULT=$fault
python3 "$(dirname "$0")/judge.py" mutants --number=$number --seed="$seed" --live-every=10
