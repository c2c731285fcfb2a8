# faked_clock.sh: the ledger's time is the kernel's where another preload fakes clock_gettime, and that
# preload is not called by us: it may lock and allocate, and has not begun when we do (promise 7).
. "$(dirname "$0")/harness.sh"
program=$programs/takes_things

cat >"$work/clock.c" <<'C'
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *now)
{
    (void)clock;
    (void)now;
    _exit(66);
}
C
gcc -shared -fPIC -o "$work/clock.so" "$work/clock.c" 2>/dev/null || skip "no compiler here"
timeout 60 env LD_PRELOAD="$work/clock.so" "$program" memfds=3 || skip "the program asks for the time itself"

# Before and behind the shim.
for preload in "$shim:$work/clock.so" "$work/clock.so:$shim"; do
    timeout 60 env LD_PRELOAD="$preload" BOXLEDGER_OPTIONS=reclaim=1 "$program" memfds=3 \
        children=2 2>"$work/err" || fail "$preload: status $?"
    grep -q "holding 3 descriptors" "$work/err" || fail "$preload: $(<"$work/err")"
done
