#!/usr/bin/env bash
# The shim defines libc's names and ours, needs libc alone, and comes first at start-up.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

names() {
    nm -D --defined-only "$1" | awk '$2 ~ /^[TWDBVi]$/ { sub(/@.*/, "", $3); print $3 }' | sort -u
}

libc=$(ldd "$shim" | awk '$1 ~ /^libc\.so/ { print $3 }')
[[ -n $libc ]] || fail "the shim does not use libc"
libraries=("$libc")
for other in libdl.so.2 libutil.so.1 librt.so.1 libpthread.so.0; do
    [[ ! -e ${libc%/*}/$other ]] || libraries+=("${libc%/*}/$other")
done
for library in "${libraries[@]}"; do
    names "$library"
done | sort -u >"$work/libc"

names "$shim" | grep -v '^boxledger_' >"$work/ours" || true
comm -23 "$work/ours" "$work/libc" >"$work/strangers"
[[ ! -s $work/strangers ]] || fail "exported, but not libc's: $(tr '\n' ' ' <"$work/strangers")"
[[ $(wc -l <"$work/ours") -ge 60 ]] ||
    fail "only $(wc -l <"$work/ours") of libc's names are wrapped"

readelf -d "$shim" >"$work/dynamic"
needed=$(sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' "$work/dynamic" | grep -v -e '^libc\.' -e '^ld-linux' || true)
[[ -z $needed ]] || fail "needs more than libc: $needed"
grep -q 'INITFIRST' "$work/dynamic" || fail "not initialised first"
grep -q 'FLAGS.* NOW' "$work/dynamic" || fail "bound lazily"
! grep -q TEXTREL "$work/dynamic" || fail "has text relocations"
readelf -lW "$shim" >"$work/segments"
! grep -qE 'GNU_STACK.* RWE' "$work/segments" || fail "wants an executable stack"
# A dynamic thread-local block is allocated at its first use: with malloc, in a signal handler.
! readelf -rW "$shim" | grep -q DTPMOD || fail "has thread-local storage outside the static block"
