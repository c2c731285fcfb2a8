# process_without_landlock.sh: on a kernel that has no Landlock, or has it switched off, nothing is run,
# and one line and the status say so.
. "$(dirname "$0")/process.sh"
create_ruleset=444 # of all architectures

for number in 38 95; do # ENOSYS: it has none; EOPNOTSUPP: switched off
    as=("$programs/refuses" "$create_ruleset" "$number")
    for command in "run -- touch $work/ran" "churn -- touch $work/ran" "serve --socket=$work/socket"; do
        status=0
        # shellcheck disable=SC2086
        boxsup ${command%% *} ${command#* } >"$work/out" 2>"$work/err" || status=$?
        [[ $status -eq $unsupported ]] || fail "$command: status $status: $(<"$work/err")"
        [[ $(<"$work/err") == "boxsup: this kernel has no Landlock, or it is switched off"* &&
            $(wc -l <"$work/err") -eq 1 && ! -s $work/out ]] || fail "$command: $(<"$work/err")"
    done
done
[[ ! -e $work/ran && ! -e $work/socket ]] || fail "something was run all the same"
