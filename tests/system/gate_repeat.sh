# gate_repeat.sh: --repeat runs the command so many times. What is found in any run counts, unless
# --found-in=all says that only what is in each does. A run that fails is the last.
. "$(dirname "$0")/harness.sh"
. "$source/tests/gate/gate.sh"
turn=$work/turn # is there after every first run of two

# --- Once, a finding of every second run is there or is not; in two runs it always is.
gate 0 -- "$sandboxes" rarely="$turn"
gate 1 -- "$sandboxes" rarely="$turn"
for _ in once again; do
    gate 1 --repeat=2 -- "$sandboxes" rarely="$turn"
    says 'New: 1 descriptor (file) left behind by 1 api sandbox, in keep_rarely'
    says '; in 1 of 2 runs'
    says 'SUMMARY: boxledger: gate failed: 1 new; 2 runs'
    [[ $(grep -c '^==.*== exited with status 0' "$work/err") -eq 2 ]] || fail "not two reports"
done

# --- Only what is in every run.
gate 0 --repeat=2 --found-in=all -- "$sandboxes" rarely="$turn"
says 'Rare: 1 descriptor (file)'
says 'gate clean: 1 rare; 2 runs'
gate 1 --repeat=2 --found-in=all -- "$sandboxes" rarely="$turn" keeps_fd=2
says 'gate failed: 1 new, 1 rare; 2 runs'
says 'New: 2 descriptors (memfd)'

# --- A baseline has what any run had, so that it is known whenever it comes.
gate 0 --repeat=2 --baseline="$work/known.json" --update-baseline -- "$sandboxes" rarely="$turn"
says 'gate clean: 1 known; 2 runs'
gate 0 --baseline="$work/known.json" -- "$sandboxes" rarely="$turn"
says 'gate clean: 1 gone'
gate 0 --baseline="$work/known.json" -- "$sandboxes" rarely="$turn"
says 'gate clean: 1 known'

# --- Its count is the most that a run had; with --found-in=all what counts is the fewest.
cat >"$work/by-turns" <<END
#!/bin/bash
if [[ -e $turn ]]; then rm "$turn"; n=5; else : >"$turn"; n=2; fi
exec "$sandboxes" keeps_fd=\$n
END
chmod 755 "$work/by-turns"
rm -f "$turn"
gate 0 --repeat=2 --baseline="$work/turns.json" --update-baseline -- "$work/by-turns"
grep -q '"count": 5' "$work/turns.json" || fail "not the most that a run had"
gate 0 --repeat=2 --baseline="$work/turns.json" -- "$work/by-turns"
sed -i 's/"count": 5/"count": 4/' "$work/turns.json"
gate 1 --repeat=2 --baseline="$work/turns.json" -- "$work/by-turns"
says 'Grown: 5 descriptors'
gate 0 --repeat=2 --found-in=all --baseline="$work/turns.json" -- "$work/by-turns"
sed -i 's/"count": 4/"count": 1/' "$work/turns.json"
gate 1 --repeat=2 --found-in=all --baseline="$work/turns.json" -- "$work/by-turns"
says 'Grown: 2 descriptors'

# --- A run that fails ends it, and what it is judged by is what there was.
rm -f "$turn"
cat >"$work/fails" <<END
#!/bin/bash
if [[ -e $turn ]]; then exec "$sandboxes" clean=1 exit=4; fi
: >"$turn"
exec "$sandboxes" keeps_fd=1
END
chmod 755 "$work/fails"
gate 3 --repeat=5 --report="$work/report.json" -- "$work/fails"
says 'exited with status 4'
says 'gate without verdict: 1 new; 2 runs'

# --- Each run begins as the first did: the same limits, the same signals, a ledger of its own.
cat >"$work/looks" <<END
#!/bin/bash
{ ulimit -s; grep '^Sig[BIC]' /proc/self/status; ls -l /proc/self/fd | wc -l; } \
    >>"$work/looked.\$(ls "$work" | grep -c '^looked')"
exec "$sandboxes" keeps_fd=1
END
chmod 755 "$work/looks"
# Started by posix_spawn(3), which leaves the C library's own two signals ignored.
cat >"$work/spawns" <<END
#!/usr/bin/env python3
import os, sys
child = os.posix_spawn("$boxledger", ["boxledger"] + sys.argv[1:], os.environ)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
END
chmod 755 "$work/spawns"
(ulimit -Ss 1024 && boxledger=$work/spawns gate 1 --repeat=3 --ledger="$work/ledger" --report="$work/r" -- "$work/looks")
cmp "$work/looked.0" "$work/looked.1" || fail "the second run does not begin as the first"
cmp "$work/looked.0" "$work/looked.2" || fail "the third run does not begin as the first"
for run in 1 2 3; do
    "$boxledger" report "$work/ledger.$run" | grep -q '^SUMMARY: boxledger: 1 descriptor left' ||
        fail "the ledger of run $run"
done
no_leftovers
