# cancelled_threads.sh: threads cancelled in open, accept, recvmsg and close (promises 1, 4).
. "$(dirname "$0")/harness.sh"
both cancelled_threads "$work"
