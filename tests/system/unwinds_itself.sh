# unwinds_itself.sh: a program that unwinds with libunwind itself (promise 7).
. "$(dirname "$0")/harness.sh"
both unwinds_itself
