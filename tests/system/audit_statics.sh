#!/usr/bin/env bash
# The audit sees every kind of writable variable, and accepts one only with its reason.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

mkdir -p "$work/src"
audit() {
    gcc -g -O1 -fPIC -c -o "$work/src/a.o" "$work/a.c"
    "$source/scripts/audit-statics" "$work" >"$work/out" 2>&1
}
refused() {
    printf '%s\n' "$2" >"$work/a.c"
    ! audit || fail "accepted $1"
    grep -q "a.c:$3: $4: say" "$work/out" || fail "$1: $(<"$work/out")"
}
accepted() {
    printf '%s\n' "$2" >"$work/a.c"
    audit || fail "refused $1: $(<"$work/out")"
}

use='int *f(void) { return &v; }'
use2='int *f(void) { return &v.v; }'
refused "a bare static" "static int v;
$use" 1 v
refused "a bare initialised one" "
static int v = 7;
$use" 2 v
refused "a bare global" "int v;
$use" 1 v
refused "a bare thread-local" "static __thread int v;
$use" 1 v
refused "one inside a function" "int *f(void) { static int v; return &v; }" 1 'v\.[0-9]*'
refused "one whose comment gives no reason" "static int v; /* a counter */
$use" 1 v
refused "one whose neighbour has a reason" "static int w; /* process-global: the host's */
static int v;
int *f(void) { return &v + w++; }" 2 v
accepted "a reason on the line" "static int v; /* process-global: describes the host */
$use"
accepted "a reason above" "/* process-global: describes the host,
 * of which there is one */
static int v;
$use"
accepted "a reason in a line comment" "// thread-local: its own stack pointer
static __thread int v;
$use"
accepted "a reason above a struct without a name" "/* process-global: the host's */
static struct {
    int v;
#ifdef E
    int w;
#endif
} v;
$use2"
refused "a bare struct without a name" "static struct {
    int v;
} v;
$use2" 3 v
accepted "a reason above a macro that says thread" "#define T static __thread
/* thread-local: its own */
T int v;
$use"
accepted "a constant" "static const int v = 4; const int *f(void) { return &v; }"
accepted "a constant that needs relocation" "extern int x; int *const v = &x;"

if "$source/scripts/audit-statics" "$work/nothing" >/dev/null 2>&1; then
    fail "no objects, and no complaint"
fi
