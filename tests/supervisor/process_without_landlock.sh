# process_without_landlock.sh: on a kernel that has no Landlock, or has it switched off, or no
# notifications, nothing is run, and one line and the status say so.
. "$(dirname "$0")/process.sh"
create_ruleset=444 # of all architectures
seccomp=317        # of x86-64
[[ $(uname -m) == x86_64 ]] || seccomp=277

# unsupported PATTERN CALL ERRNO
unsupported() {
    local command status
    as=("$programs/refuses" "$2" "$3")
    for command in "run -- touch $work/ran" "churn -- touch $work/ran" "serve --socket=$work/socket"; do
        status=0
        # shellcheck disable=SC2086
        boxsup ${command%% *} ${command#* } >"$work/out" 2>"$work/err" || status=$?
        [[ $status -eq $unsupported ]] || fail "$command: status $status: $(<"$work/err")"
        [[ $(<"$work/err") == "boxsup: this kernel has no $1"* &&
            $(wc -l <"$work/err") -eq 1 && ! -s $work/out ]] || fail "$command: $(<"$work/err")"
    done
}
unsupported "Landlock, or it is switched off" $create_ruleset 38 # ENOSYS: it has none
unsupported "Landlock, or it is switched off" $create_ruleset 95 # EOPNOTSUPP: switched off
unsupported "notifications of system calls" $seccomp 38
[[ ! -e $work/ran && ! -e $work/socket ]] || fail "something was run all the same"
