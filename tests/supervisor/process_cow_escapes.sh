# process_cow_escapes.sh: nothing that a sandbox does below --cow changes anything outside: not by ..,
# links or /proc/self/root, not by a path that changes while boxsup looks at it, not by what is
# written back; and a sandbox that is killed in the middle leaves nothing.
# shellcheck disable=SC2016
. "$(dirname "$0")/process.sh"
trap 'chmod -R u+rwX "$work"; rm -rf "$work"' EXIT

directory=$work/directory outside=$work/outside
mkdir -m 777 "$work/uppers" "$outside" "$directory" "$directory/below"
export TMPDIR=$work/uppers
echo kept >"$outside/file"
chmod 666 "$outside/file"
echo own >"$directory/file"
echo own >"$directory/below/file"
ln "$outside/file" "$directory/hard"
ln -s "$outside" "$directory/out"
ln -s ../outside/file "$directory/beside"
ln -s / "$directory/slash"
chmod -R a+rwX "$directory"

state() { find "$work/outside" "$directory" -printf '%p %y %m %T@ %s %l\n' | sort; }
before=$(state)
options=()
inside() {
    boxsup run --cow="$directory" "${options[@]}" --directory="$directory" -- sh -c "$1" sh \
        "$outside" "$directory" >"$work/out" 2>&1
}
denied() {
    inside "$1" && fail "${as[*]} not denied: $1"
    [[ $(state) == "$before" ]] || fail "${as[*]} changed by $1"
    return 0
}
permitted() {
    inside "$1" || fail "${as[*]} not permitted: $1: $(<"$work/out")"
    [[ $(state) == "$before" ]] || fail "${as[*]} changed by $1"
}
escapes() {
    local path
    for path in ../outside '$1' out '$2/out' "slash$outside" "/proc/self/root$outside" \
        /proc/self/cwd/../outside below/../../outside '$2/below/../../outside'; do
        denied "echo x >\"$path/file\""
        denied "echo x >\"$path/new\""
        denied "rm -f \"$path/file\""
        denied "mkdir \"$path/new\""
        denied "chmod 700 \"$path/file\""
        denied "touch -d @5 \"$path/file\""
        denied "mv \"$path/file\" taken && echo x >taken && false"
        denied "mv file \"$path/file\""
        denied "ln \"$path/file\" taken"
        denied "ln file \"$path/taken\""
        denied "cd -P \"$path\" && echo x >file"
        permitted "grep -q kept \"$path/file\" && cd -P \"$path\" && grep -q kept file"
    done
    denied 'echo x >beside'
    denied 'ln -sfn $1 below/own && echo x >below/own/file'
    denied 'mkdir d && ln -s ../../outside d/own && mv d/own . && echo x >own/file'
    denied 'python3 -c "import os, sys; os.truncate(sys.argv[1] + \"/file\", 0)" "$1"'
    denied 'python3 -c "import os, sys
os.open(\"file\", os.O_WRONLY, dir_fd=os.open(sys.argv[1], os.O_RDONLY))" "$1"'
    # What it reached by one name was the whole of it.
    permitted 'echo x >hard; ln hard harder; echo y >harder; grep -q y hard'
    # It is the sandbox's own file whatever the path to it.
    permitted 'echo x >/proc/self/root$2/file; echo y >/proc/self/cwd/below/../new; grep -q x file'
    permitted 'exec 3<file; echo x >/proc/self/fd/3; grep -q x file; grep -q own <&3'
    # The lower directory's files and the upper layer's cannot be had for writing behind its back.
    permitted 'echo x >new; cp /bin/cat cat; path=$("$2/cat" /proc/self/maps | sed -n "s,.* \(/.*\)/cat$,\1,p" |
        head -n 1); echo y >"$path/new"; grep -q y new; ! echo x 2>/dev/null >"$path/../own"'
}
escapes
if [[ $(id -u) -eq 0 ]]; then
    chmod 777 "$work"
    as=(setpriv --reuid=65534 --regid=65534 --clear-groups)
    before=$(state)
    escapes
    as=()
fi

# With an older Landlock, whose gaps boxsup closes.
options=(--landlock=1)
before=$(state)
denied 'python3 -c "import os, sys; os.truncate(sys.argv[1] + \"/file\", 0)" "$1"'
denied 'python3 -c "import os, sys
os.open(sys.argv[1] + \"/file\", os.O_RDONLY | os.O_TRUNC)" "$1"'
denied 'python3 -c "import os; os.open(\"../outside/file\", os.O_RDONLY | os.O_TRUNC)"'
denied 'cat ../outside/file'
permitted 'echo x >file; echo x >new; rm below/file; python3 -c "import os; os.truncate(\"file\", 1)"
    [ "$(stat -c %s file ../outside/file | tr "\n" " ")" = "1 5 " ]'
options=()

# Nothing depends on what a process can find out: the mark of calls that boxsup has it make again.
before=$(state)
for file in "$directory/file" /proc/cpuinfo /etc/hostname; do
    boxsup run --cow="$directory" --cpus=3 --hostname=virtual -- \
        "$programs/knows_mark" "$directory/below" "$file" >"$work/out" 2>&1 ||
        fail "status $?: $file: $(<"$work/out")"
done
for way in "--landlock=1" "--landlock=3"; do
    status=0
    boxsup run --cow="$directory" "$way" -- \
        "$programs/knows_mark" "$directory/below" "$outside/file" >"$work/out" 2>&1 || status=$?
    # That may be read, and nothing else.
    [[ $status -eq 1 && $(grep -v Landlock "$work/out") == "opened by way 0" ]] ||
        fail "$way status $status: $(<"$work/out")"
done
[[ $(state) == "$before" ]] || fail "changed by who knows the mark"

# A path that another thread changes between check and use.
before=$(state)
boxsup run --cow="$directory" -- "$programs/swaps_writes" "$directory/below" "$outside" 1500 \
    >"$work/out" 2>&1 || fail "status $?: $(<"$work/out")"
[[ $(<"$work/out") == changed\ [1-9]* ]] || fail "nothing was ever changed: $(<"$work/out")"
[[ $(state) == "$before" ]] || fail "past the check: $(state | diff - <(echo "$before"))"
# Outside, the same program does: it can fail.
mkdir "$work/one" "$work/other"
echo kept | tee "$work/one/file" >"$work/other/file"
(cd "$work/one" && "$programs/swaps_writes" "$work/one" "$work/other" 1500 >/dev/null)
[[ $(cat "$work/other/file" 2>/dev/null) != kept ]] || fail "the attack does not work outside either"
# What is virtual stays virtual, by a path that starts in the directory as well.
memory=$(sed -n 's/^\(MemTotal.*\)/\1/p' /proc/meminfo)
boxsup run --cow="$directory" --memory=1G -- "$programs/swaps_paths" "$directory/file" \
    "$directory/slash/proc/meminfo" "$memory" 3000 >"$work/out" || fail "past it: $(<"$work/out")"

# Nobody is given a setuid file: none is copied up, made, or written back.
chmod 4755 "$directory/file"
options=(--commit)
inside '[ $(stat -c %a file) = 4755 ] && echo more >>file && [ $(stat -c %a file) = 755 ] &&
    chmod u+s file && [ $(stat -c %a file) = 755 ] && cp /bin/true own && chmod 6755 own &&
    python3 -c "import os; os.close(os.open(\"made\", os.O_CREAT | os.O_RDWR, 0o4755))"' ||
    fail "$(<"$work/out")"
[[ -z $(find "$directory" -perm /6000) ]] || fail "a setuid file: $(find "$directory" -perm /6000)"

# What is written back takes the place of a link that somebody put there meanwhile, and of a hard
# link.
mkdir -m 777 "$work/fifos"
mkfifo -m 666 "$work/fifos/begun" "$work/fifos/go"
options+=(--write="$work/fifos")
timeout "$limit" sh -c 'read -r line <"$1/begun" && rm -r "$2/below" && ln -s "$3" "$2/below" &&
    echo >"$1/go"' sh "$work/fifos" "$directory" "$outside" &
inside "echo x >below/file; echo x >below/new; echo x >hard; echo >$work/fifos/begun
    read -r line <$work/fifos/go" || fail "$(<"$work/out")"
wait
[[ $(cat "$outside/file") == kept && ! -e $outside/new ]] || fail "written through a link"
[[ ! -L $directory/below && $(cat "$directory/below/new") == x ]] || fail "not written back"
# What somebody else has put there meanwhile stays.
rm "$directory/below/new"
timeout "$limit" sh -c 'read -r line <"$1/begun" && echo somebody >"$2/below/foreign" &&
    echo >"$1/go"' sh "$work/fifos" "$directory" &
inside "rm -r below; echo x >hard; echo >$work/fifos/begun; read -r line <$work/fifos/go" ||
    fail "$(<"$work/out")"
wait
[[ $(cat "$directory/below/foreign") == somebody && ! -e $directory/below/file ]] ||
    fail "not only its own is removed"
[[ $(<"$outside/file") == kept && $(<"$directory/hard") == x ]] || fail "written to a hard link"
rm -rf "$work/uppers"/*

# A pipe that nobody writes to does not keep boxsup from the sandbox's end.
status=0
timeout -k 5 "$limit" "$boxsup" run --timeout=4 --cow="$directory" --directory="$directory" \
    --write="$work/fifos" -- sh -c 'while :; do cat ../fifos/begun; done' >"$work/out" 2>&1 || status=$?
[[ $status -eq $timed_out ]] || fail "a pipe: status $status, not $timed_out"
grep -q "Interrupted system call" "$work/out" || fail "a pipe: $(<"$work/out")"

# Killed in the middle: nothing stays, in the supervisor or on the disk.
cat >"$work/killer.py" <<'EOT'
import os, random, signal, subprocess, sys, time
churn = subprocess.Popen(sys.argv[2:], stdout=subprocess.PIPE, text=True)
random.seed(1)
done = 0
while churn.poll() is None:
    time.sleep(random.uniform(0, 0.01))
    below = []
    for thread in os.listdir(f"/proc/{churn.pid}/task"):
        try:
            with open(f"/proc/{churn.pid}/task/{thread}/children") as children:
                below += children.read().split()
        except OSError:
            pass
    if below:
        try:
            os.kill(int(random.choice(below)), signal.SIGKILL)
            done += 1
        except OSError:
            pass
print(churn.communicate()[0], end="")
sys.exit(1 if done < int(sys.argv[1]) or churn.returncode else 0)
EOT
kills=200
((long)) && kills=2000
timeout -k 5 "$limit" python3 "$work/killer.py" "$kills" "$boxsup" churn --any-status \
    --count="$kills" --jobs=4 --cow="$directory" -- \
    "$programs/swaps_writes" "$directory/below" "$directory" 1000000 >"$work/out" 2>"$work/err" ||
    fail "status $?: $(tail -n 3 "$work/out" "$work/err")"
# By python too, which passes on no descriptors of whoever runs this.
python3 -c 'import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))' \
    "$boxsup" churn --count=10 --jobs=4 --cow="$directory" -- true >"$work/calm"
figure() { tail -n 1 "$1" | sed -n "s/.* \([0-9]*\) $2.*/\1/p"; }
[[ $(tail -n 1 "$work/out") == "$kills done"*" 0 live"* ]] || fail "$(tail -n 1 "$work/out")"
[[ $(figure "$work/out" descriptors) -eq $(figure "$work/calm" descriptors) ]] ||
    fail "descriptors stay: $(tail -n 1 "$work/out")"
[[ -z $(ls "$work/uppers") ]] || fail "upper layers stay: $(ls "$work/uppers")"
