# no_proc.sh: a process in a chroot without /proc (promise 1), bare, and under `boxledger run`.
. "$(dirname "$0")/harness.sh"
mkdir "$work/jail"
both no_proc "$work/jail"
run --report="$work/report" -- "$programs/no_proc" - "$work/jail" || fail "under the command: $?"
tail -1 "$work/report" | grep -q '^SUMMARY: boxledger:' || fail "no report"
