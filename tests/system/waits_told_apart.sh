# waits_told_apart.sh: a child's sandbox ends when a wait says so, and not before (DESIGN 5).
. "$(dirname "$0")/harness.sh"
both waits_told_apart
