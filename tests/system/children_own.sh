# children_own.sh: what is a child's own, and what another's child would get (DESIGN 5 and 6).
. "$(dirname "$0")/harness.sh"
both children_own
