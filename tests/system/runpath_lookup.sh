# runpath_lookup.sh: RUNPATH lookups through dlopen (promise 8).
. "$(dirname "$0")/harness.sh"
both runpath_lookup
