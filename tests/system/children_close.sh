# children_close.sh: children of every kind that close 3 to 1,023 (promise 5).
. "$(dirname "$0")/harness.sh"
both children_close
