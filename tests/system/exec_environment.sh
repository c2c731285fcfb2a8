# exec_environment.sh: an exec of the watched process takes what it takes without us, and what comes
# after a static program has nothing of us (promise 6).
. "$(dirname "$0")/harness.sh"
program=$programs/exec_environment
preloaded() { timeout 60 env LD_PRELOAD="$shim" "$program" - "$@" 2>"$work/err"; }

bare exec_environment largest || fail "bare: status $?"
preloaded largest || fail "an exec with the largest environment: status $?"

libm=$(ldconfig -p | awk '/libm\.so\.6/ && !n++ { print $NF }')
long=$libm
while [[ ${#long} -lt 5000 ]]; do long=$long:$libm; done
LD_PRELOAD=$long "$program" - preload ${#long} || fail "a long LD_PRELOAD, bare: status $?"
LD_PRELOAD=$shim:$long "$program" - preload ${#long} 2>"$work/err" ||
    fail "a long LD_PRELOAD: status $?"

# What reads the auxiliary vector from behind the environment, as Go's runtime does.
bare exec_environment auxv || fail "auxv, bare: status $?"
preloaded auxv || fail "auxv: status $?"
BOXLEDGER_OPTIONS=live=0 preloaded auxv || fail "auxv, with options: status $?"
LD_PRELOAD=$shim sh -c "exec $program - auxv" 2>"$work/err" || fail "auxv after an exec: status $?"
run --report="$work/report" -- "$program" - auxv || fail "auxv under the command: status $?"
run --report="$work/report" -- sh -c "exec $program - auxv" ||
    fail "auxv under the command, after an exec: status $?"

# The process goes on as a static program, whose children are not to take its ledger for theirs.
cat >"$work/static.c" <<'END'
#include <sys/wait.h>
#include <unistd.h>

int main(void)
{
    for (int i = 0; i < 3; i++)
        if (fork() == 0)
            execl("/bin/true", "true", (char *)0), _exit(9);
    while (wait(0) > 0)
        continue;
    return 6;
}
END
gcc -static -o "$work/static" "$work/static.c" 2>/dev/null || skip "no static programs here"
status=0
run --report="$work/report" -- sh -c "exec $work/static" 2>"$work/err" || status=$?
[[ $status -eq 124 ]] || fail "status $status: $(<"$work/err")"
grep -q "went on as $work/static" "$work/report" || fail "$(<"$work/report")"

# Bare, they have no ledger to go by.
status=0
LD_PRELOAD=$shim BOXLEDGER_OPTIONS=live=1 sh -c "exec $work/static" >"$work/out" 2>"$work/err" ||
    status=$?
[[ $status -eq 6 && ! -s $work/err ]] || fail "bare: status $status, $(<"$work/err")"
