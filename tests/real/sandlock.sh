#!/usr/bin/env bash
# Real input 1: sandlock as published on PyPI. Release 0.4.6 keeps the supervisor's copy of every
# memfd that it injects; 0.4.7 and 0.4.8 do not. Its memfd_create is an inline syscall.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../system/lib.sh"
. "$(dirname "${BASH_SOURCE[0]}")/sandlock_environment.bash"

sandboxes=20
leaky=0.4.6
cured=(0.4.7 0.4.8)

loop=$source/tests/real/sandlock_loop.py
for version in "$leaky" "${cured[@]}"; do
    environment "$version"
    interpreter=$work/$version/bin/python
    if ! timeout 120 "$interpreter" "$loop" "$sandboxes" >"$work/$version.bare" 2>"$work/err"; then
        if [[ $version == "$leaky" ]]; then
            skip "sandlock $version does not run here: $(tail -n 1 "$work/err")"
        fi
        fail "sandlock $version: $(cat "$work/err")"
    fi
    timeout 300 "$boxledger" run --format=json --live --report="$work/$version.json" -- \
        "$interpreter" "$loop" "$sandboxes" >"$work/$version.shim" 2>"$work/err" ||
        fail "sandlock $version under boxledger: exit $?: $(cat "$work/err")"
    diff -u "$work/$version.bare" "$work/$version.shim" ||
        fail "sandlock $version holds other descriptors under boxledger than without"
done
"$python" "$source/tests/real/sandlock_verdict.py" "$leaky" "$work/$leaky.bare" \
    "$work/$leaky.json" leaks
for version in "${cured[@]}"; do
    "$python" "$source/tests/real/sandlock_verdict.py" "$version" "$work/$version.bare" \
        "$work/$version.json" clean
done

# Without what finds it, it is not found: the judgement above can fail.
if [[ -x $build/boxledger-faulty ]]; then
    for fault in injected_unseen injected_unsaid; do
        timeout 300 env BOXLEDGER_FAULT="$fault" BOXLEDGER_SHIM="$faulty" "$build/boxledger-faulty" \
            run --format=json --live --report="$work/$fault.json" -- \
            "$work/$leaky/bin/python" "$loop" "$sandboxes" >"$work/$fault.shim" 2>"$work/err" ||
            fail "$fault: exit $?: $(cat "$work/err")"
        if "$python" "$source/tests/real/sandlock_verdict.py" "$leaky" "$work/$leaky.bare" \
            "$work/$fault.json" leaks >"$work/out" 2>&1; then
            fail "$fault: it is found all the same"
        fi
        tail -n 1 "$work/out"
    done
fi
