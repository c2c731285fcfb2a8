# filtered_thread.sh: a thread whose seccomp filter allows next to nothing (promise 1).
. "$(dirname "$0")/harness.sh"
both filtered_thread
