# promise.sh: what boxledger_end or a rule promises to be left is reclaimed once it has settled, if
# the kernel confirms it; what is weakly known, another's, or another thing by now is not touched.
# shellcheck source=tests/system/harness.sh disable=SC2154
. "$(dirname "$0")/../system/harness.sh"
programs=${BOXLEDGER_POLICY_PROGRAMS:-$build/tests/policies}
settle_ms=120

# skips_or_fails STATUS WHAT: the program has said why it skips.
skips_or_fails() {
    [[ $1 -ne 77 ]] || exit 77
    fail "$2: status $1"
}
# A VM's memory goes after its vCPUs. Alone, with the argument `vcpus`; else last, as it may skip.
vcpus() {
    bare promise vcpus $settle_ms || skips_or_fails $? "vCPUs, without the shim"
    options=settle_ms=$settle_ms
    shimmed promise vcpus-off $settle_ms || skips_or_fails $? "vCPUs, with reclaim off"
    options=reclaim=1:settle_ms=$settle_ms
    shimmed promise vcpus $settle_ms || skips_or_fails $? "vCPUs"
}
if [[ ${1:-} == vcpus ]]; then
    vcpus
    exit
fi

bare promise all $settle_ms || fail "without the shim: status $?"
options=settle_ms=$settle_ms
shimmed promise off $settle_ms || fail "with reclaim off: status $?"
options=reclaim=1:settle_ms=$settle_ms
shimmed promise all $settle_ms || fail "status $?"
echo 'owner thread name=box-*' >"$work/rules"
options=reclaim=1:settle_ms=$settle_ms:rules=$work/rules
shimmed promise threads $settle_ms || fail "threads by a rule: status $?"
(ulimit -n 96 && bare promise emfile $settle_ms) || fail "at the limit, without the shim: status $?"
options=reclaim=1:settle_ms=$settle_ms
(ulimit -n 96 && shimmed promise emfile $settle_ms) || fail "at the limit: status $?"
vcpus
