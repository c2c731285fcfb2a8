# all_on.sh: programs that nobody here wrote do the same with every policy on as without boxledger.
# So does our own supervisor, of which nothing is reclaimed, refused or rescued. With arguments: only
# those cases of unharmed.py. BOXLEDGER_LONG=1: all of them.
# shellcheck source=tests/system/harness.sh disable=SC2154
. "$(dirname "$0")/../system/harness.sh"
need_command
need_tool python3
policies="reclaim=1:rescue=1:placement=1:limit_vmas=60000:limit_fds=4000:reserve_vmas=16"
policies="$policies:reserve_fds=4:settle_ms=50"
cases=("$@")
if [[ ${#cases[@]} -eq 0 && $long != 1 ]]; then
    cases=("python alone" git "gcc and make" "python test_mmap")
fi

# unharmed.py runs build/boxledger: here one that turns everything on.
mkdir -p "$work/build"
cat >"$work/build/boxledger" <<EOF
#!/bin/bash
verb=\$1
shift
[[ \$verb == run ]] || exec "$boxledger" "\$verb" "\$@"
IFS=: read -ra options <<<"$policies"
${fault:+export BOXLEDGER_SHIM="$shim" BOXLEDGER_FAULT="$fault"}
exec "$boxledger" run "\${options[@]/#/--}" "\$@"
EOF
chmod +x "$work/build/boxledger"
got=0
BOXLEDGER_BUILD=$work/build BOXLEDGER_SOURCE=$source \
    python3 -B "$source/tests/system/unharmed.py" "${cases[@]}" || got=$?
[[ $got -eq 0 || $got -eq 77 ]] || fail "with every policy on, see above"

# boxsup: the same number of sandboxes, well ended, and no finding.
count=60
[[ $long != 1 ]] || count=1000
kind=mixed
[[ -w /dev/kvm ]] || kind=process
"$build/boxsup" churn --kind=$kind --count=$count -- /bin/true >"$work/bare" 2>&1 || {
    tail -n 3 "$work/bare"
    skip "boxsup runs no sandboxes here"
}
"$work/build/boxledger" run --format=json --report="$work/json" -- \
    "$build/boxsup" churn --kind=$kind --count=$count -- /bin/true >"$work/out" 2>&1 ||
    fail "boxsup with every policy on: $(tail -n 5 "$work/out")"
[[ $(json "$work/json" '.findings | length') -eq 0 ]] ||
    fail "boxsup with every policy on: $(json "$work/json" '.findings')"
[[ $(json "$work/json" '.totals.owners_ended') -ge $count ]] ||
    fail "only $(json "$work/json" '.totals.owners_ended') sandboxes"
[[ $got -eq 0 ]] || skip "none of the programs is installed; boxsup was well"
