# vm_named.sh: under boxledger each VM sandbox is one owner by its own name; the right ones leave
# nothing behind, and each defect of F1 leaves what its row says, of every sandbox.
. "$(dirname "$0")/vm.sh"
need_kvm
command -v jq >/dev/null || skip "jq is not installed"

count=20

# leaves MAPPINGS [DEFECT]: what each sandbox leaves behind.
leaves() {
    local json=$work/report
    timeout -k 5 "$limit" "$boxledger" run --format=json --report="$json" -- \
        "$driver" churn $count 1 "${@:2}" >/dev/null || fail "${*:2}: status $?"
    [[ $(jq .totals.owners_begun "$json") -eq $count ]] ||
        fail "${*:2}: $(jq .totals.owners_begun "$json") owners for $count sandboxes"
    [[ $(jq .totals.leaked_mappings "$json") -eq $(($1 * count)) ]] ||
        fail "${*:2}: $(jq .totals.leaked_mappings "$json") mappings are left behind"
    [[ $(jq .totals.leaked_fds "$json") -eq 0 ]] || fail "${*:2}: descriptors are left behind"
    [[ $1 -eq 0 ]] && return
    [[ $(jq '[.owners[].label | select(test("^churn-vm-[0-9]+$"))] | unique | length' "$json") -eq \
        $count ]] || fail "${*:2}: $(jq -c '[.owners[].label]' "$json")"
    jq -e '[.findings[] | select(.verdict == "leaked") |
            any(.stack[]; .function == "vm_map_descriptor_cow")] | all' "$json" >/dev/null ||
        fail "${*:2}: not the line that took it"
}

leaves 0
leaves 3 cow-map-leak
leaves 2 slot-only-unmap
leaves 1 restore-leak
