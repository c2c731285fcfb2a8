#!/usr/bin/env bash
# Real input 2: hyperlight-host as published as a Rust crate. Its map_file_cow maps a file for a
# micro-VM and forgets the address: nothing unmaps it, neither the end of the sandbox nor its
# restoring to a snapshot. The first release that was reported for it and the newest both do so; no
# release is cured. The control is therefore a driver that unmaps by itself.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../system/lib.sh"
. "$(dirname "${BASH_SOURCE[0]}")/hyperlight_drivers.bash"

count=100 # the ledger tells unbindings apart by the millisecond: a loop must take a few
leak_status=9
releases=(oldest newest) # members of the workspace; each names its release

for release in "${releases[@]}"; do
    version=$(sed -n 's/^hyperlight-host = .*version = "=\([^"]*\)".*/\1/p' \
        "$workspace/$release/Cargo.toml")
    for mode in drop restore unmap; do
        name=$work/$release.$mode
        expected=$leak_status
        [[ $mode != unmap ]] || expected=0
        driver "$release" "$mode" "$count"
        timeout 60 "${command[@]}" >"$name.bare" 2>"$work/err" ||
            fail "hyperlight-host $version $mode: exit $?: $(cat "$work/err")"
        status=0
        timeout 120 "$boxledger" run --format=json --live --report="$name.json" \
            --error-exitcode="$leak_status" -- "${command[@]}" >"$name.shim" 2>"$work/err" ||
            status=$?
        ((status == expected)) ||
            fail "hyperlight-host $version $mode under boxledger: exit $status: $(cat "$work/err")"
        diff -u "$name.bare" "$name.shim" ||
            fail "hyperlight-host $version $mode holds other things under boxledger than without"
        python3 "$source/tests/real/hyperlight_verdict.py" "$version" "$name.shim" \
            "$name.json" "$file"
    done
done

# Without what finds it, it is not found: the judgement above can fail.
if [[ -x $build/boxledger-faulty ]]; then
    driver oldest drop "$count"
    for fault in kvm_unseen leaked_maps_unsaid; do
        timeout 120 env BOXLEDGER_FAULT="$fault" BOXLEDGER_SHIM="$faulty" "$build/boxledger-faulty" \
            run --error-exitcode="$leak_status" -- "${command[@]}" >"$work/out" 2>"$work/err" ||
            fail "$fault: exit $?: $(cat "$work/err")"
        tail -n 1 "$work/err"
    done
fi
