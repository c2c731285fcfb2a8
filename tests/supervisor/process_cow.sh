# process_cow.sh: what a sandbox changes below --cow it sees changed, whatever path leads there, and
# nobody else does, unless it is written back with --commit.
# shellcheck disable=SC2016
. "$(dirname "$0")/process.sh"
trap 'chmod -R u+rwX "$work"; rm -rf "$work"' EXIT

directory=$work/directory
mkdir -m 777 "$work/uppers"
export TMPDIR=$work/uppers
fresh() {
    rm -rf "$directory"
    mkdir -m 777 "$directory" "$directory/below" "$directory/removed"
    echo first >"$directory/file"
    echo second >"$directory/below/second"
    echo third >"$directory/removed/third"
    ln -s file "$directory/link"
    ln -s below "$directory/there"
    ln -s "$directory/below/second" "$directory/absolute"
    cp /bin/true "$directory/program"
    chmod -R a+rwX "$directory"
    touch -d 2001-02-03T04:05:06Z "$directory/file" "$directory/below/second" "$directory/program"
}
# What there is, with its contents, modes and times.
state() {
    (cd "$directory" && find . ! -type d -printf '%p %y %m %T+ %l %i\n' | sort &&
        find . -type d -printf '%p %m\n' | sort && find . -type f -exec md5sum {} + | sort)
}
options=()
inside() {
    boxsup run --cow="$directory" "${options[@]}" --directory="$directory" -- \
        sh -ec "$1" sh "$directory" >"$work/out" 2>"$work/err"
}
# shows COMMANDS OUTPUT: it prints this, and nothing outside has changed.
shows() {
    local before
    before=$(state)
    inside "exec 2>&1; $1" || fail "${as[*]} $1: status $?: $(<"$work/out")$(<"$work/err")"
    [[ $(<"$work/out") == "$2" ]] || fail "${as[*]} $1: '$(<"$work/out")', not '$2'"
    [[ $(state) == "$before" ]] || fail "${as[*]} $1: it has changed outside"
    [[ -z $(ls "$work/uppers") ]] || fail "${as[*]} $1: leaves $(ls "$work/uppers")"
}

changes() {
    fresh
    shows 'cat file link there/second absolute "$1/file" | tr "\n" " "' \
        'first first second second first '
    shows 'echo new >file; cat file link "$1/link"' $'new\nnew\nnew'
    shows 'echo new >>absolute; cat below/second' $'second\nnew'
    shows 'echo new >"$1/there/../fresh"; cat fresh; ls' \
        $'new\nabsolute\nbelow\nfile\nfresh\nlink\nprogram\nremoved\nthere'
    shows 'rm -r removed file; ls; cat file || echo gone' \
        $'absolute\nbelow\nlink\nprogram\nthere\ncat: file: No such file or directory\ngone'
    shows 'mkdir -p a/b; cd a/b; pwd; cd "$1/a"; pwd; echo x >b/c; cat ../a/b/c; cd /; cat "$1/a/b/c"' \
        "$directory/a/b"$'\n'"$directory/a"$'\nx\nx'
    shows 'mv below/second moved; ls below; cat moved; mv moved "$1/below/second"; cat absolute' \
        $'second\nsecond'
    shows 'ln file hard; echo y >hard; cat file; stat -c %h "$1/file"' $'y\n2'
    shows 'ln -s file own; readlink own; cat own "$1/own"' $'file\nfirst\nfirst'
    shows 'chmod 640 file; stat -c "%a %Y %s" file; touch -d @5 "$1/file"; stat -c %Y file' \
        $'640 981173106 6\n5'
    shows 'umask 027; echo x >masked; mkdir d; stat -c %a masked d' $'640\n750'
    shows 'python3 -c "import os; os.truncate(\"file\", 2)"; cat file; [ -w "$1/file" ] && [ ! -x file ]' \
        "fi"
    shows 'python3 -c "import mmap, os
with open(\"file\", \"r+b\") as file:
    mmap.mmap(file.fileno(), 0)[0:5] = b\"FIRST\"
print(open(\"file\").read(), os.path.samestat(os.stat(\"file\"), os.stat(\"link\")))"' \
        $'FIRST\n True'
    # Programs, scripts, and their own paths.
    shows './program && "$1/program" && cp program copy && ./copy && "$1/copy" && echo ran' ran
    shows 'printf "#!/bin/sh\necho script\n" >s; chmod +x s; ./s; "$1/s"; cd below; ../s; sh "$1/s"' \
        $'script\nscript\nscript\nscript'
    shows 'printf nothing >s; chmod +x s; python3 -c "import os, sys
try: os.execv(sys.argv[1], [\"x\"])
except OSError as error: print(error.strerror)" "$1/s"' 'Exec format error'
    shows 'python3 -c "import os
os.chdir(\"below\")
open(\"new\", \"x\").close()
fd = os.open(\"..\", os.O_RDONLY)
print(sorted(os.listdir(fd)), os.stat(\"second\", dir_fd=os.open(\".\", os.O_PATH)).st_size)
os.fchdir(fd); print(os.path.basename(os.getcwd()))"' \
        "['absolute', 'below', 'file', 'link', 'program', 'removed', 'there'] 7
directory"
    shows 'readlink /proc/self/cwd; exec 3<file; readlink /proc/self/fd/3; cat /proc/self/fd/3' \
        "$directory"$'\n'"$directory/file"$'\nfirst'
    # What is above and beside it is as it was.
    shows 'ls .. | grep -c .; head -c 4 ../../../../../../../../../etc/passwd; cd ..; pwd' \
        "$(find "$work" -maxdepth 1 -mindepth 1 | wc -l)"$'\nroot'"$work"
    # What cannot be had there is refused.
    shows 'mkfifo pipe || :; mv below elsewhere && ls -d elsewhere below || :' \
        "mkfifo: cannot create fifo 'pipe': Operation not permitted
ls: cannot access 'below': No such file or directory
elsewhere"
}
changes
if [[ $(id -u) -eq 0 ]]; then
    as=(setpriv --reuid=65534 --regid=65534 --clear-groups)
    chmod 777 "$work"
    changes
fi
as=(env "LD_PRELOAD=$shim")
fresh
boxsup run --cow="$directory" --directory="$directory" -- \
    sh -ec 'echo x >new; mkdir d; cd "$PWD/d"; cp ../program p; "$PWD/p"' 2>"$work/err" ||
    fail "under the shim: $(<"$work/err")"
[[ ! -e $directory/new ]] || fail "under the shim it writes outside"
as=()

# Written back, at a successful end only.
script='echo new >file; rm -r removed; mkdir fresh; echo x >fresh/x; rm link; ln -s below link
    chmod 600 program; rm there; echo text >there; mv below/second below/moved; touch -d @7 fresh/x'
commits() {
    fresh
    before=$(state)
    options=(--commit)
    if inside "$script; exit 3"; then fail "no status 3"; fi
    [[ $(state) == "$before" ]] || fail "written back after a failure"
    options=(--commit --discard)
    inside "$script" || fail "$(<"$work/err")"
    [[ $(state) == "$before" ]] || fail "written back in spite of --discard"
    options=(--commit)
    inside 'cat file below/second; ls -lR >/dev/null; ./program' || fail "$(<"$work/err")"
    [[ $(state) == "$before" ]] || fail "what was only read is written back"
    echo somebody >"$directory/below/foreign"
    inside "$script; ls below" || fail "$(<"$work/err")"
    echo somebody >"$directory/foreign"
    [[ $(cd "$directory" && cat file fresh/x there below/moved below/foreign) == \
        $'new\nx\ntext\nsecond\nsomebody' ]] || fail "not what was written"
    [[ ! -e $directory/removed && ! -e $directory/below/second && ! -L $directory/there &&
        $(readlink "$directory/link") == below && $(stat -c %a "$directory/program") == 600 &&
        $(stat -c %Y "$directory/fresh/x") == 7 ]] || fail "not all: $(state)"
    [[ -z $(find "$directory" -name '.boxsup*') && -z $(ls "$work/uppers") ]] ||
        fail "something of boxsup's is left"
    options=()
}
commits
if [[ $(id -u) -eq 0 ]]; then
    as=(setpriv --reuid=65534 --regid=65534 --clear-groups)
    commits
    as=()
fi

# Killed while it writes back: each file is the old one or the new one, whole.
rm -rf "$directory"
mkdir "$directory"
cat >"$work/kills.py" <<'EOF'
import os, signal, subprocess, sys, time
directory, between = sys.argv[1], 0
for attempt in range(60):
    if between and attempt >= 6:
        break
    for number in range(200):
        with open(f"{directory}/{number}", "w") as file:
            file.write("old" * 2000)
    before = {name: os.stat(f"{directory}/{name}").st_ino for name in os.listdir(directory)}
    boxsup = subprocess.Popen(sys.argv[2:])
    while boxsup.poll() is None and all(
            before.get(entry.name) == entry.inode() for entry in os.scandir(directory)):
        time.sleep(0.0005)
    time.sleep(0.0005 * (attempt % 6))
    boxsup.kill()
    boxsup.wait()
    contents = set()
    for name in os.listdir(directory):
        if name.startswith(".boxsup-"):
            os.unlink(f"{directory}/{name}")
            continue
        with open(f"{directory}/{name}") as file:
            contents.add(file.read())
    assert contents <= {"old" * 2000, "new" * 2000}, contents
    between += len(contents) == 2
sys.exit(0 if between else "it was never killed in the middle")
EOF
timeout -k 5 "$limit" python3 "$work/kills.py" "$directory" \
    "$boxsup" run --cow="$directory" --commit -- python3 -c 'import os, sys
for name in os.listdir(sys.argv[1]):
    with open(f"{sys.argv[1]}/{name}", "w") as file:
        file.write("new" * 2000)' "$directory" 2>"$work/err" || fail "$(tail -n 1 "$work/err")"
rm -rf "$work/uppers"/*

# An upper layer that is named stays, with what changed and nothing else.
fresh
options=(--upper="$work/mine")
inside "$script" || fail "$(<"$work/err")"
[[ $(cd "$work/mine/tree" && find . ! -type d | sort | tr '\n' ' ') == \
    "./absolute ./below/moved ./file ./fresh/x ./link ./program ./there " ]] ||
    fail "the upper layer has $(find "$work/mine")"
[[ $(stat -c %a "$work/mine") == 700 ]] || fail "others may look into it"
status=0
inside true || status=$?
[[ $status -eq $failed && $(<"$work/err") == *"Directory not empty" ]] || fail "used again: $(<"$work/err")"

# What cannot be written back is not lost.
if [[ $(id -u) -ne 0 ]]; then user=(); else user=(setpriv --reuid=65534 --regid=65534 --clear-groups); fi
as=("${user[@]}")
fresh
chmod 777 "$work"
chmod 755 "$directory/below"
options=(--commit)
status=0
# Who owns the directory loses the right to it while the sandbox runs.
(
    for ((i = 0; i < 500; i++)); do
        ! compgen -G "$work/uppers/*/tree/below/new" >/dev/null || break
        sleep 0.02
    done
    [[ $(id -u) -eq 0 ]] || chmod 555 "$directory/below"
    : >"$work/changed"
) &
inside 'echo kept >below/new; until [ -e "$1/../changed" ]; do sleep 0.02; done' || status=$?
wait
chmod 755 "$directory/below"
[[ $status -eq $failed && $(<"$work/err") == *"still in $work/uppers/"*"/tree: cannot write back"* ]] ||
    fail "status $status: $(<"$work/err")"
[[ $(cat "$work"/uppers/*/tree/below/new) == kept ]] || fail "it is lost"
