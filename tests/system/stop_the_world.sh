# stop_the_world.sh: a stopper opens descriptors while the world stands still (promise 3).
. "$(dirname "$0")/harness.sh"
both stop_the_world
