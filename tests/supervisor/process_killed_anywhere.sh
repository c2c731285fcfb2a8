# process_killed_anywhere.sh: sandboxes that are killed at random moments, most of them in the middle
# of a notification, and one that floods its supervisor: nothing of them is left.
. "$(dirname "$0")/process.sh"
kills=1000
((long)) && kills=10000
seconds=$((1000 + $$)) # by which they are told from other tests

cat >"$work/killer.py" <<'EOF'
import os, random, signal, subprocess, sys, time
kills = int(sys.argv[1])
churn = subprocess.Popen(sys.argv[2:], stdout=subprocess.PIPE, text=True)
random.seed(1)
done = 0
while churn.poll() is None:
    time.sleep(random.uniform(0, 0.003))
    children = []
    for thread in os.listdir(f"/proc/{churn.pid}/task"):
        try:
            with open(f"/proc/{churn.pid}/task/{thread}/children") as list_:
                children += list_.read().split()
        except OSError:
            pass
    if children:
        try:
            os.kill(int(random.choice(children)), signal.SIGKILL)
            done += 1
        except OSError:
            pass
print(churn.communicate()[0], end="")
sys.exit(1 if done < kills or churn.returncode else 0)
EOF

# Nothing but a kill ends one of these before its time.
timeout -k 5 "$limit" python3 "$work/killer.py" "$kills" \
    "$boxsup" churn --any-status --count="$kills" --jobs=4 -- "$programs/floods" $seconds \
    >"$work/out" 2>"$work/err" || fail "status $?: $(tail -n 3 "$work/out" "$work/err")"

# figure FILE NAME
figure() { tail -n 1 "$1" | sed -n "s/.* \([0-9]*\) $2.*/\1/p"; }
# By python too, which passes on no descriptors of whoever runs this.
python3 -c 'import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))' \
    "$boxsup" churn --count=100 --jobs=4 -- true >"$work/calm"
[[ $(tail -n 1 "$work/out") == "$kills done"*" 0 live"* ]] || fail "$(tail -n 1 "$work/out")"
[[ $(figure "$work/out" descriptors) -eq $(figure "$work/calm" descriptors) ]] ||
    fail "descriptors stay: $(tail -n 1 "$work/out")"
[[ $(pgrep -c -f "^$programs/floods $seconds\$") -eq 0 ]] || fail "processes stay"
