# each_can_fail.sh: without any one of its detections a reproducer is not found: each of them, by
# itself, where its row's test ends with the first. What boxledger cannot find, and the supervisor's
# end shows, is not to be seen without the defect.
# shellcheck source=tests/system/harness.sh disable=SC2154
. "$(dirname "$0")/../system/harness.sh"
need_command
need_tool python3
[[ -e $faulty ]] || fail "no faulty shim at $faulty"
export BOXLEDGER_BUILD=$build BOXLEDGER_SOURCE=$source BOXLEDGER_FAULT=
python3 "$(dirname "$0")/reproduce.py" --can-fail
