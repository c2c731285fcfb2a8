# process_programs.sh: real programs do in a sandbox what they do outside: sh, python3 with its
# standard library, gcc and what it made, git, threads.
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
    local place
    local -a outside=()
    place=$(mktemp -d "$work/XXXXXX")
    mkdir "$place/in" "$place/out"
    cp "$work/threads.c" "$place/in"
    cp "$work/threads.c" "$place/out"
    chmod -R a+rwX "$place"
    # Outside without the shim, whose report would be in the output.
    [[ ${as[0]-} == env ]] || outside=("${as[@]}")
    (cd "$place/out" && timeout "$limit" "${outside[@]}" sh "$work/programs" >"$place/expected" 2>&1) ||
        skip "the programs do not run outside either: $(tail -n 3 "$place/expected")"
    boxsup run --write="$place/in" --directory="$place/in" -- sh "$work/programs" \
        >"$place/got" 2>"$place/err" || fail "${as[*]} status $?: $(tail -n 5 "$place/err")"
    diff "$place/expected" "$place/got" || fail "${as[*]}: other output than outside"
}
each_way together

# Many at once.
# shellcheck disable=SC2016
boxsup churn --count=200 --jobs=32 -- sh -c 'echo $((6 * 7)) | grep -q 42' >"$work/out" ||
    fail "200 sandboxes, 32 at once: $(tail -n 3 "$work/out")"
