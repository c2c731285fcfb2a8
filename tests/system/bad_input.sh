# bad_input.sh: whatever is wrong with what the command is given, it says so in one line, ends with
# the status of boxledger(1), starts nothing and leaves nothing behind.
. "$(dirname "$0")/harness.sh"
need_command
program=$programs/takes_things
mark=$work/started

# refuses STATUS WORDS ARGUMENTS...: `boxledger ARGUMENTS...` fails so, saying so.
refuses() {
    local status=$1 words=$2 got=0
    shift 2
    (cd "$work" && timeout 30 env BOXLEDGER_SHIM="$shim" "$boxledger" "$@") \
        >"$work/out" 2>"$work/err" </dev/null || got=$?
    [[ $got -eq $status ]] || fail "$*: status $got, not $status: $(head -3 "$work/err")"
    [[ $(wc -l <"$work/err") -eq 1 ]] || fail "$*: not one line: $(cat "$work/err")"
    grep -q '^boxledger: ' "$work/err" || fail "$*: $(cat "$work/err")"
    grep -qF -- "$words" "$work/err" || fail "$*: does not say '$words': $(cat "$work/err")"
    [[ ! -s $work/out ]] || fail "$*: wrote to standard output"
    [[ ! -e $mark ]] || fail "$*: the program was started"
}
start=(touch "$mark")

refuses 2 'what is to be done'
refuses 2 'frobnicate' frobnicate
refuses 2 'which program' run
refuses 2 'which ledger' report
refuses 2 '--frobnicate' run --frobnicate "${start[@]}"
refuses 2 '-x' run -x "${start[@]}"
refuses 2 '--report' run --report "${start[@]}"
refuses 2 '0 to 255' run --error-exitcode=256 "${start[@]}"
refuses 2 'number' run --error-exitcode=x "${start[@]}"
refuses 2 'switch' run --live=perhaps "${start[@]}"
refuses 2 'xml' run --format=xml "${start[@]}"
refuses 2 '--attach' run --attach=/dev/null "${start[@]}"
refuses 2 '--follow-dir' run --follow-dir=/tmp "${start[@]}"
refuses 2 '--ledger' report --ledger=x y
BOXLEDGER_OPTIONS=frobnicate refuses 2 'BOXLEDGER_OPTIONS: frobnicate' run "${start[@]}"
BOXLEDGER_OPTIONS="ledger='x" refuses 2 'quote' run "${start[@]}"
refuses 2 'quotes' run --follow="a'b\"c" "${start[@]}"

# Suppressions.
refuses 2 "$work/none" run --suppressions="$work/none" "${start[@]}"
refuses 2 "$work" run --suppressions="$work" "${start[@]}"
printf 'leak:x\nrace:y\n' >"$work/bad.supp"
refuses 2 'bad.supp:2:' run --suppressions="$work/bad.supp" "${start[@]}"
if [[ $(id -u) -ne 0 ]]; then
    : >"$work/unreadable" && chmod 0 "$work/unreadable"
    refuses 2 'Permission denied' run --suppressions="$work/unreadable" "${start[@]}"
fi

# Where the report and the ledger go.
refuses 2 'none/report' run --report="$work/none/report" "${start[@]}"
refuses 2 'irectory' run --report="$work" "${start[@]}"
echo precious >"$work/exists"
refuses 2 'exists' run --ledger="$work/exists" "${start[@]}"
ln -s "$work/target" "$work/link"
refuses 2 'exists' run --ledger="$work/link" "${start[@]}"
ln -s "$work/exists" "$work/link2"
refuses 2 'exists' run --ledger="$work/link2" "${start[@]}"
refuses 2 'none/ledger' run --ledger="$work/none/ledger" "${start[@]}"
[[ $(<"$work/exists") == precious && ! -e $work/target ]] || fail "something was overwritten"
# What was made for a run that did not happen goes again.
refuses 127 'nonesuch' run --report="$work/r" --ledger="$work/l" --follow nonesuch
refuses 2 'exists' run --report="$work/r" --ledger="$work/exists" "${start[@]}"
[[ ! -e $work/r && ! -e $work/l ]] || fail "a file was left behind"
# An old report stays until there is a new one.
echo old >"$work/old"
refuses 127 'nonesuch' run --report="$work/old" nonesuch
[[ $(<"$work/old") == old ]] || fail "an old report was lost"

# No space for the ledger.
(
    ulimit -f 100
    refuses 125 'no space for the ledger' run "${start[@]}"
) || exit 1
refuses_without_shim() {
    local got=0
    BOXLEDGER_SHIM=$work/none "$boxledger" run "${start[@]}" 2>"$work/err" || got=$?
    [[ $got -eq 125 && ! -e $mark ]] || fail "without a shim: status $got"
}
refuses_without_shim

# Programs that cannot be.
refuses 127 'not found' run nonesuch
refuses 127 'not found' run "$work/nonesuch"
refuses 126 'irectory' run "$work"
refuses 126 'exists' run "$work/exists"
refuses 124 'statically linked' run "$programs/static_program"
printf '#!%s\n' "$programs/static_program" >"$work/script" && chmod 755 "$work/script"
refuses 124 'statically linked' run "$work/script"
# An ELF of another machine: the byte at 18 says which.
cp "$program" "$work/foreign" && printf '\x03' | dd of="$work/foreign" bs=1 seek=18 conv=notrunc 2>"$work/null"
refuses 124 'not a 64-bit program' run "$work/foreign"

# Ledgers that are none.
timeout 30 env BOXLEDGER_SHIM="$shim" "$boxledger" run --ledger="$work/good" --report="$work/report" \
    "$program" memfds=2 || fail "a good run failed"
refuses 125 'not a ledger' report "$work/exists"
refuses 125 'not a regular file' report /dev/null
refuses 125 'not a regular file' report "$work"
refuses 125 'none' report "$work/none"
: >"$work/empty"
refuses 125 'not a ledger' report "$work/empty"
for size in 100 4096 28671 100000 524287; do
    head -c "$size" "$work/good" >"$work/short"
    refuses 125 'truncated' report "$work/short"
done
head -c -1 "$work/good" >"$work/short"
refuses 125 'truncated' report "$work/short"
cp "$work/good" "$work/newer" && printf '\x63' | dd of="$work/newer" bs=1 seek=8 conv=notrunc 2>"$work/null"
refuses 125 'version 99' report "$work/newer"
cp "$work/good" "$work/wrong" && printf '\xff\xff' | dd of="$work/wrong" bs=1 seek=400 conv=notrunc 2>"$work/null"
cp "$work/good" "$work/wrong" && printf '\xff\xff\xff\xff' | dd of="$work/wrong" bs=1 seek=12 conv=notrunc 2>"$work/null"
refuses 125 'corrupted' report "$work/wrong"
mkfifo "$work/fifo"
refuses 125 'not a regular file' report "$work/fifo"
# One bad ledger does not keep the others from being reported.
got=0
"$boxledger" report "$work/short" "$work/good" >"$work/out" 2>"$work/err" || got=$?
[[ $got -eq 125 ]] || fail "one bad ledger of two: status $got"
tail -1 "$work/out" | grep -q '^SUMMARY: boxledger: nothing left behind' ||
    fail "the good ledger of two was not reported"
