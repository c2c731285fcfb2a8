# vm_command.sh: `boxsup vm` maps, sums and writes, the files do not change; a mistake is one line
# and a status, and nothing runs.
. "$(dirname "$0")/vm.sh"

# Mistakes in the command line are found without KVM.
refuses $usage "unknown option --nonsense" --nonsense
refuses $usage "--map needs a value" --map
refuses $usage "unexpected argument extra" extra
refuses $usage "0x12zz is not a guest address" --map "/etc/passwd@0x12zz"
refuses $usage "-4096 is not a guest address" --map "/etc/passwd@-4096"
refuses $usage "99999999999999999999 is not a guest address" \
    --map "/etc/passwd@99999999999999999999"
"$driver" vm --help | grep -q '^usage: boxsup vm' || fail "--help"

need_kvm
head -c 8192 /dev/urandom >"$work/two pages"
head -c 4096 /dev/zero >"$work/at@sign"
head -c 5000 /dev/zero >"$work/odd"
: >"$work/empty"
cp "$work/two pages" "$work/before"
mkfifo "$work/pipe"

"$driver" vm --map "$work/two pages@0x600000" --map="$work/two pages@" --map "$work/at@sign@" \
    >"$work/said" || fail "vm: status $?"
cmp "$work/two pages" "$work/before" || fail "the file has changed"
[[ $(head -n 1 "$work/said") == "guest: in long mode" ]] || fail "no guest: $(<"$work/said")"
sum=$(od -An -v -t u8 -w8 "$work/two pages" | python3 -c '
import sys
print("%#x" % (sum(map(int, sys.stdin)) % 2**64))')
[[ $(grep -c "two pages: 8192 bytes at 0x[46]00000, sum $sum; after a write to 2 pages, sum 0x" \
    "$work/said") -eq 2 ]] || fail "not the sum $sum: $(<"$work/said")"
grep -q "at@sign: 4096 bytes at 0x402000, sum 0; after a write to 1 pages, sum 0x707573786f62" \
    "$work/said" || fail "no sum of the zeros: $(<"$work/said")"

refuses $failed "5000 bytes are not a whole number of pages" --map "$work/odd"
refuses $failed "0 bytes are not a whole number of pages" --map "$work/empty"
refuses $failed "own memory" --map "$work/two pages@0"
refuses $failed "0x600800 is not a multiple of 4096" --map "$work/two pages@0x600800"
refuses $failed "which end at 0x80000000" --map "$work/two pages@0x7ffff000"
refuses $failed "which end at 0x80000000" --map "$work/two pages@0xfffffffffffff000"
refuses $failed "overlap another region" --map "$work/two pages@0x600000" \
    --map "$work/at@sign@0x601000"
refuses $failed "cannot open $work/none: No such file" --map "$work/none"
refuses $failed "not a regular file" --map "$work/pipe"
refuses $failed "not a regular file" --map "$work"
[[ -z $(find "$work" -newer "$work/said" -type f ! -name out ! -name err) ]] ||
    fail "a file is left"

if [[ $(id -u) -ne 0 ]]; then
    chmod 000 "$work/odd"
    refuses $failed "Permission denied" --map "$work/odd"
fi
