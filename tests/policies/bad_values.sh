# bad_values.sh: what is wrong with a policy's value, or makes no sense with another's, is refused by
# the command in one line before anything is started, and ignored with a warning by the shim; what
# is right beside it counts.
# shellcheck source=tests/system/harness.sh disable=SC2154
. "$(dirname "$0")/../system/harness.sh"
programs=${BOXLEDGER_POLICY_PROGRAMS:-$build/tests/policies}
need_command
mark=$work/started
ulimit -n 256
max_vmas=$(cat /proc/sys/vm/max_map_count)

# wrong OPTIONS KEY WORDS: neither takes them, and both say KEY and WORDS.
wrong() {
    local got=0 arguments
    IFS=: read -ra arguments <<<"$1"
    timeout 30 env BOXLEDGER_SHIM="$shim" "$boxledger" run "${arguments[@]/#/--}" touch "$mark" \
        >"$work/out" 2>"$work/err" </dev/null || got=$?
    [[ $got -eq 2 ]] || fail "$1: the command's status is $got: $(head -3 "$work/err")"
    [[ $(wc -l <"$work/err") -eq 1 ]] || fail "$1: the command does not say one line"
    grep -q "^boxledger: .*$2.*$3" "$work/err" || fail "$1: the command says $(cat "$work/err")"
    [[ ! -s $work/out && ! -e $mark ]] || fail "$1: the program was started"

    timeout 30 env BOXLEDGER_OPTIONS="$1" LD_PRELOAD="$shim" /bin/echo well \
        >"$work/out" 2>"$work/err" </dev/null || fail "$1: the program did not go on"
    [[ $(<"$work/out") == well ]] || fail "$1: the program's output is $(cat "$work/out")"
    [[ $(grep -c '^boxledger: warning: ' "$work/err") -eq 1 ]] ||
        fail "$1: the shim does not warn once: $(cat "$work/err")"
    grep -q "^boxledger: warning: BOXLEDGER_OPTIONS: $2 .*; ignored" "$work/err" ||
        fail "$1: the shim says $(cat "$work/err")"
}

# Negative, or no number at all.
for key in limit_vmas limit_fds reserve_vmas reserve_fds quarantine_fds; do
    wrong "reclaim:$key=-1" $key number
    wrong "reclaim:$key=" $key value
    wrong "reclaim:$key=many" $key number
    wrong "reclaim:$key=1M" $key number
done
for key in limit_bytes quarantine_bytes; do
    wrong "reclaim:$key=-1" $key size
    wrong "reclaim:$key=1T" $key size
    wrong "reclaim:$key=1.5M" $key size
done
for key in reclaim rescue placement; do
    wrong $key=-1 $key switch
    wrong $key=2 $key switch
done
# Absurd.
wrong limit_vmas=4294967296 limit_vmas range
wrong limit_fds=99999999999999999999 limit_fds range
wrong limit_bytes=131073G limit_bytes range
wrong limit_bytes=18446744073709551616 limit_bytes range
wrong reclaim:quarantine_fds=1048577 quarantine_fds range
wrong limit_bytes=4095 limit_bytes page
# Contradictory.
wrong reserve_fds=256 reserve_fds descriptors
wrong reserve_vmas="$max_vmas" reserve_vmas vm.max_map_count
wrong quarantine_fds=10 quarantine_fds reclaim
wrong reclaim=0:quarantine_bytes=1M quarantine_bytes reclaim
wrong reclaim:quarantine_fds=200:reserve_fds=56 quarantine_fds reserve_fds

# What only just makes sense is taken, by both.
good=reclaim:rescue:placement:limit_vmas=1:limit_fds=1:limit_bytes=4096:reserve_fds=255
good=$good:reserve_vmas=$((max_vmas - 1)):quarantine_fds=0:quarantine_bytes=128G
IFS=: read -ra arguments <<<"$good"
run "${arguments[@]/#/--}" touch "$mark" 2>"$work/err" || fail "the command: $(cat "$work/err")"
[[ -e $mark ]] || fail "the command started nothing"
BOXLEDGER_OPTIONS=$good LD_PRELOAD=$shim /bin/echo well >"$work/out" 2>"$work/err"
! grep -q warning "$work/err" || fail "the shim: $(cat "$work/err")"

# A mistake is done without, and what stands beside it counts.
shimmed_policies() {
    rm -f "$ledger"
    BOXLEDGER_OPTIONS="ledger=$ledger:$1" LD_PRELOAD=$shim /bin/true 2>/dev/null
    # struct ledger_header.policies: enum policy
    timeout 30 "$programs/policies_on" "$ledger"
}
[[ $(shimmed_policies limit_fds=-1:placement) == placement ]] || fail "a mistake spoils the next"
[[ $(shimmed_policies reserve_fds=256:rescue) == rescue ]] || fail "a contradiction stays"
[[ $(shimmed_policies reserve_fds=25) == limit ]] || fail "a reserve is no limit"
[[ $(shimmed_policies limit_bytes=64K) == limit ]] || fail "limit_bytes is no limit"
[[ $(shimmed_policies limit_bytes=0:limit_fds=0:reclaim=0) == '' ]] || fail "0 is not off"
