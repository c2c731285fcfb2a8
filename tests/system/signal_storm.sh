# signal_storm.sh: close and map in a storm of signal handlers (promise 3).
. "$(dirname "$0")/harness.sh"
both signal_storm
