# unshared_files.sh: threads that leave the shared descriptors (promise 5).
. "$(dirname "$0")/harness.sh"
both unshared_files
