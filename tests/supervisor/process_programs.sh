# process_programs.sh: real programs do in a sandbox what they do outside: sh, python3 with its
# standard library, gcc and what it made, git, threads; also in a copy-on-write directory.
# shellcheck disable=SC2016
. "$(dirname "$0")/process.sh"

cat >"$work/threads.c" <<'EOF'
#include <pthread.h>
#include <stdio.h>
static void *count(void *total)
{
    FILE *file = fopen("/proc/self/status", "r");
    if (file && !fclose(file))
        __atomic_fetch_add((int *)total, 1, __ATOMIC_SEQ_CST);
    return NULL;
}
int main(void)
{
    pthread_t threads[20];
    int total = 0;
    for (int i = 0; i < 20; i++)
        pthread_create(&threads[i], NULL, count, &total);
    for (int i = 0; i < 20; i++)
        pthread_join(threads[i], NULL);
    printf("%d threads\n", total);
}
EOF

# Both sides do this in a directory of their own.
cat >"$work/programs" <<'EOF'
set -e
export HOME=. TMPDIR=. PYTHONDONTWRITEBYTECODE=1
for i in 1 2 3; do echo "$i" | sed s/2/two/; done | sort -r
(exit 3) || echo "status $?"
ls / | grep -c .
python3 -c 'import asyncio, ctypes, decimal, json, sqlite3, unittest, hashlib
print(json.dumps([1, 2.5, None]), decimal.Decimal(1) / 7, hashlib.sha256(b"x").hexdigest())'
python3 -c 'import subprocess; print(subprocess.run(["echo", "child"], capture_output=True).stdout)'
gcc -O1 -pthread -o threads threads.c
./threads
git init -q repository
cd repository
echo text >file
git add file
export GIT_AUTHOR_DATE=2026-01-01T00:00:00Z GIT_COMMITTER_DATE=2026-01-01T00:00:00Z
git -c user.name=n -c user.email=e commit -qm subject
git log --format='%H %s'
EOF

together() {
    local place directory
    local -a outside=()
    place=$(mktemp -d "$work/XXXXXX")
    mkdir "$place/in" "$place/out" "$place/cow"
    for directory in in out cow; do cp "$work/threads.c" "$place/$directory"; done
    chmod -R a+rwX "$place"
    # Outside without the shim, whose report would be in the output.
    [[ ${as[0]-} == env ]] || outside=("${as[@]}")
    (cd "$place/out" && timeout "$limit" "${outside[@]}" sh "$work/programs" >"$place/expected" 2>&1) ||
        skip "the programs do not run outside either: $(tail -n 3 "$place/expected")"
    boxsup run --write="$place/in" --directory="$place/in" -- sh "$work/programs" \
        >"$place/got" 2>"$place/err" || fail "${as[*]} status $?: $(tail -n 5 "$place/err")"
    diff "$place/expected" "$place/got" || fail "${as[*]}: other output than outside"
    # In a directory where nothing of it stays, and from another one.
    boxsup run --cow="$place/cow" --directory="$place/cow" -- sh "$work/programs" \
        >"$place/got" 2>"$place/err" || fail "${as[*]} --cow status $?: $(tail -n 5 "$place/err")"
    diff "$place/expected" "$place/got" || fail "${as[*]} --cow: other output than outside"
    [[ $(ls "$place/cow") == threads.c ]] || fail "${as[*]} --cow: left $(ls "$place/cow")"
    boxsup run --cow="$place/cow" --commit --directory=/ -- \
        sh -ec 'cd "$1"; exec sh "$2"' sh "$place/cow" "$work/programs" \
        >"$place/got" 2>"$place/err" || fail "${as[*]} --commit status $?: $(tail -n 5 "$place/err")"
    diff "$place/expected" "$place/got" || fail "${as[*]} --commit: other output than outside"
    (cd "$place/cow" && timeout "$limit" "${outside[@]}" sh -c './threads &&
        git -C repository -c safe.directory="*" fsck --strict && git -C repository \
        -c safe.directory="*" log --format="%H %s" && git -C repository -c safe.directory="*" status --short') \
        >"$place/got" 2>"$place/err" || fail "${as[*]}: what was written back: $(<"$place/err")"
    [[ $(<"$place/got") == "20 threads"$'\n'"$(tail -n 1 "$place/expected")" ]] ||
        fail "${as[*]}: what was written back: $(<"$place/got")"
}
each_way together

# By the same seed they draw the same.
draw() {
    boxsup run --seed="$1" -- sh -c 'python3 -c "import random, secrets, uuid
print(random.random(), secrets.token_hex(8), uuid.uuid4())"; od -An -tx1 -N16 /dev/urandom'
}
[[ $(draw 3) == "$(draw 3)" ]] || fail "one seed, two outputs"
[[ $(draw 3) != "$(draw 4)" ]] || fail "two seeds, one output"

# Many at once.
# shellcheck disable=SC2016
boxsup churn --count=200 --jobs=32 -- sh -c 'echo $((6 * 7)) | grep -q 42' >"$work/out" ||
    fail "200 sandboxes, 32 at once: $(tail -n 3 "$work/out")"
# shellcheck disable=SC2016
boxsup churn --count=200 --jobs=32 --cow="$work" -- \
    sh -c 'cd "$0" && echo 42 >answer && grep -q 42 "$0/answer" && cp /bin/true new && ./new' "$work" \
    >"$work/out" ||
    fail "200 sandboxes with a directory, 32 at once: $(tail -n 3 "$work/out")"
[[ ! -e $work/answer ]] || fail "one of them wrote outside"
