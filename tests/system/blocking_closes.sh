# blocking_closes.sh: a call that waits ends what was done for a notification (DESIGN 5).
. "$(dirname "$0")/harness.sh"
both blocking_closes
