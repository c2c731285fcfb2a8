#!/usr/bin/env bash
# The unwinder, linked into a program, against libunwind at the same point of the same thread; and
# that this comparison would notice a wrong frame, and a dlclose that went unnoticed.
set -euo pipefail
fault=${BOXLEDGER_FAULT:-} # lib.sh takes it away
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

oracle=$build/tests/system/unwind_oracle
here=$source/tests/system
[[ -x $oracle ]] || skip "built without libunwind, which is the oracle"

for plugin in a:0x1000 b:0x2000; do
    "${CC:-cc}" -shared -nostdlib "-DPLUGIN_FRAME=${plugin#*:} - 8" -o "$work/plugin_${plugin%:*}.so" \
        "$here/unwind_oracle_plugin.S"
done
cp "$work/plugin_a.so" "$work/plugin_c.so"
! command -v "${CXX:-c++}" >/dev/null ||
    "${CXX:-c++}" -shared -fPIC -O2 -o "$work/throw.so" "$here/unwind_oracle_throw.cc"

BOXLEDGER_FAULT=$fault "$oracle" "$work" || fail "a capture differs from the oracle's"

! UNWIND_ORACLE_BREAK=frame "$oracle" "$work" plain >"$work/out" ||
    fail "a spoilt frame passed: $(<"$work/out")"
! UNWIND_ORACLE_BREAK=stale "$oracle" "$work" unloaded >"$work/out" ||
    fail "code that took another's place unseen passed: $(<"$work/out")"
