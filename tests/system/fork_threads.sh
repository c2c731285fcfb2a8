# fork_threads.sh: fork among threads (promise 5).
. "$(dirname "$0")/harness.sh"
both fork_threads
