# jump_out.sh: siglongjmp out of handlers that interrupted wrappers (promise 4).
. "$(dirname "$0")/harness.sh"
both jump_out
