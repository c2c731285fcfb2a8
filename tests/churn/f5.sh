# f5.sh [NAME...]: the reproducers of the field's row F5, or those named, each in its four runs;
# see reproducers.py.
# shellcheck source=tests/system/harness.sh disable=SC2154
. "$(dirname "$0")/../system/harness.sh"
need_command
need_tool python3
export BOXLEDGER_BUILD=$build BOXLEDGER_SOURCE=$source BOXLEDGER_FAULT=$fault
python3 "$(dirname "$0")/reproduce.py" "${@:-F5}"
