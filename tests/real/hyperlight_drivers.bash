# hyperlight_drivers.bash: what the tests on hyperlight-host share, sourced after lib.sh: its drivers,
# built, or skips. `driver RELEASE MODE COUNT` puts one's command line into the array `command`;
# RELEASE is a member of the workspace, $file what its guests are given to read.
# shellcheck shell=bash disable=SC2034,SC2154
rust_minor=89 # both releases ask for Rust 1.89

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
