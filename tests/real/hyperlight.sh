#!/usr/bin/env bash
# Real input 2: hyperlight-host as published as a Rust crate. Its map_file_cow maps a file for a
# micro-VM and forgets the address: nothing unmaps it, neither the end of the sandbox nor its
# restoring to a snapshot. The first release that was reported for it and the newest both do so; no
# release is cured. The control is therefore a driver that unmaps by itself.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../system/lib.sh"

count=100 # the ledger tells unbindings apart by the millisecond: a loop must take a few
leak_status=9
releases=(oldest newest) # members of the workspace; each names its release
rust_minor=89            # both ask for Rust 1.89

[[ $(uname -m) == x86_64 ]] || skip "the guest is one for x86-64"
[[ -r /dev/kvm && -w /dev/kvm ]] || skip "no access to /dev/kvm"
for tool in cargo rustc gcc objcopy; do
    command -v "$tool" >/dev/null || skip "no $tool"
done
minor=$(rustc --version | sed -n 's/^rustc 1\.\([0-9]*\).*/\1/p')
((${minor:-0} >= rust_minor)) || skip "rustc is older than 1.$rust_minor"

# A second run finds the drivers built. Nothing is written beside the sources.
workspace=$source/tests/real/hyperlight
target=$build/tests/real/hyperlight
mkdir -p "$target"
unset RUSTFLAGS CARGO_BUILD_TARGET
export CARGO_TARGET_DIR=$target CARGO_NET_RETRY=1 CARGO_HTTP_TIMEOUT=30
manifest=(--locked --manifest-path "$workspace/Cargo.toml")
host=$(rustc -vV | sed -n 's/^host: //p')
timeout 300 cargo fetch --quiet --target "$host" "${manifest[@]}" >"$work/log" 2>&1 ||
    skip "hyperlight-host cannot be fetched: $(grep -v '^$' "$work/log" | tail -n 1)"
timeout 1200 cargo build --quiet --offline --workspace "${manifest[@]}" >"$work/log" 2>&1 ||
    fail "the drivers of hyperlight-host: $(cat "$work/log")"

guest() { # RELEASE OPTION...
    gcc -c -o "$work/$1.o" "${@:2}" "$workspace/guest.S"
    objcopy -O binary -j .text "$work/$1.o" "$work/$1.guest"
}
guest oldest
guest newest -DQUEUES

file=$work/image
echo "what a guest reads" >"$file"

driver() { # RELEASE MODE COUNT: the command line, in the array of that name
    command=("$target/debug/driver-$1" "$work/$1.guest" "$file" "$2" "$3")
}

driver oldest drop 1
timeout 60 "${command[@]}" >"$work/log" 2>&1 ||
    skip "no micro-VM starts here: $(tail -n 1 "$work/log")"

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
