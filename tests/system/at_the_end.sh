# at_the_end.sh: the plain report of a bare LD_PRELOAD comes at exit, on descriptor 2, but never
# into a file that has taken its place (promise 8).
. "$(dirname "$0")/harness.sh"
both at_the_end
preload() {
    timeout 30 env ${fault:+"BOXLEDGER_FAULT=$fault"} ${options:+"BOXLEDGER_OPTIONS=$options"} \
        LD_PRELOAD="$shim" "$programs/at_the_end" - "$@"
}
preload 2>"$work/err" || fail "status $?"
tail -1 "$work/err" | grep -q '^SUMMARY: boxledger:' ||
    fail "no report at exit: $(tail -3 "$work/err")"
options=live preload 2>"$work/err" || fail "status $?"
grep -q 'left behind\|memfd' "$work/err" || fail "the report does not show the memfd"
preload replaced "$work/database" 2>"$work/err" || fail "replaced: status $?"
[[ -e $work/database && ! -s $work/database ]] || fail "the report went into the program's file"
preload closed 2>"$work/err" || fail "closed: status $?"
preload all_closed 2>"$work/err" || fail "all closed: status $?"
