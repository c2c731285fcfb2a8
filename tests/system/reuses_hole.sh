# reuses_hole.sh: nothing of the shim's comes to lie where the program is about to map.
. "$(dirname "$0")/harness.sh"
both reuses_hole
