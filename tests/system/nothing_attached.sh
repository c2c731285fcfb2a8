# nothing_attached.sh: a command that the shim cannot enter (static, set-capability, set-user-id,
# a script that ends without an exec counts as entered) ends in an error that says so (promise 6).
. "$(dirname "$0")/harness.sh"
expect_error() {
    local got=0
    "$@" >"$work/out" 2>"$work/err" || got=$?
    [[ $got -ne 0 ]] || fail "$*: no error: $(cat "$work/err")"
    grep -qi 'nothing left behind' "$work/err" && fail "$*: says that nothing was left behind"
    grep -q '^boxledger: ' "$work/err" || fail "$*: no error message: $(head -3 "$work/err")"
}
expect_error run -- "$programs/static_program"
expect_error run -- /nonexistent/supervisor
if [[ $(id -u) -eq 0 ]] && command -v setpriv >/dev/null; then
    cp "$programs/first_descriptors" "$work/special" && chmod 755 "$work/special"
    # As somebody else: for root such programs are like any other. The build may lie where only root
    # may look.
    cp "$boxledger" "$work/command" && cp "$shim" "$work/libboxledger.so"
    as_nobody() {
        setpriv --reuid=65534 --regid=65534 --clear-groups \
            env ${fault:+"BOXLEDGER_FAULT=$fault"} BOXLEDGER_SHIM="$work/libboxledger.so" "$@"
    }
    as_nobody "$work/command" run -- true 2>"$work/err" ||
        fail "another user cannot run a program: $(<"$work/err")"
    if setcap cap_net_admin+ep "$work/special" 2>/dev/null; then
        expect_error as_nobody "$work/command" run -- "$work/special" -
        setcap -r "$work/special"
    else
        echo "no set-capability program can be made here"
    fi
    chmod u+s "$work/special"
    expect_error as_nobody "$work/command" run -- "$work/special" -
else
    echo "needs root and setpriv for set-capability and set-user-id programs"
fi
