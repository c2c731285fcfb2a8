# process_command_line.sh: a mistake is one line and a documented status, and nothing runs.
. "$(dirname "$0")/process.sh"

# refuses STATUS PATTERN ARGS...
refuses() {
    local status=0
    boxsup "${@:3}" >"$work/out" 2>"$work/err" || status=$?
    [[ $status -eq $1 ]] || fail "boxsup ${*:3}: status $status, not $1: $(<"$work/err")"
    [[ $(wc -l <"$work/err") -eq 1 ]] || fail "boxsup ${*:3}: not one line: $(<"$work/err")"
    [[ $(<"$work/err") == "boxsup: "*"$2"* ]] || fail "boxsup ${*:3}: $(<"$work/err")"
    [[ ! -s $work/out ]] || fail "boxsup ${*:3}: printed $(<"$work/out")"
}

refuses $usage "what is to be done"
refuses $usage "sleep is not a command" sleep
refuses $usage "which command is to be run" run
refuses $usage "which command is to be run" run --
refuses $usage "--nonsense is not an option here" run --nonsense true
refuses $usage "-x is not an option here" run -x true
refuses $usage "--count is not an option here" run --count=3 true
refuses $usage "--cpus needs a value" run --cpus true
refuses $usage "--network takes no value" run --network=yes true
refuses $usage "3x is not a size" run --memory=3x true
refuses $usage "0 is not a size" run --memory=0 true
refuses $usage "-1 is not a size" run --memory=-1 true
refuses $usage "99999999999G is not a size" run --memory=99999999999G true
refuses $usage "0 is not a number from 1 to" run --cpus=0 true
refuses $usage "a host's name has from 1 to 64 bytes" run --hostname= true
refuses $usage "nonsense is not a defect" run --defect=nonsense true
refuses $usage "cannot be had together" run --root=/usr --shadow=/usr true
refuses $usage "--root: /nosuch: No such file" run --root=/nosuch true
refuses $usage "cannot be had together" run --cow=/usr --root=/usr true
refuses $usage "cannot be had together" run --cow=/usr --shadow=/usr true
refuses $usage "cannot be had together" run --cow="$work" --write="$work" true
refuses $usage "cannot be had together" run --cow=/usr/bin --write=/usr true
refuses $usage "cannot be had together" run --cow=/usr --write=/usr/bin true
refuses $usage "--cow: /nosuch: No such file" run --cow=/nosuch true
refuses $usage "/ cannot be copy-on-write" run --cow=/usr/.. true
refuses $usage "--commit is for --cow" run --commit true
refuses $usage "--upper is for --cow" run --upper="$work/upper" true
refuses $usage "--commit is not an option here" churn --commit --cow="$work" true
refuses $failed "/etc/passwd/upper: Not a directory" run --cow=/usr --upper=/etc/passwd/upper true
refuses $failed "cannot use $work: Directory not empty" run --cow=/usr --upper="$work" true
mkdir "$work/below"
refuses $failed "that the sandbox may write" run --cow="$work/below" --upper="$work/below/upper" true
[[ ! -e $work/below/upper ]] || fail "it is left"
TMPDIR=/nosuch refuses $failed "there is no place for the upper layer" \
    run --cow=/usr --write=/tmp --write=/var/tmp true
refuses $not_found "cannot run /directory/nosuch" run --root="$work" /directory/nosuch
refuses $failed "cannot start in /nosuch" run --root=/ --directory=/nosuch true
refuses $usage "boats is not a kind" churn --kind=boats
refuses $usage "boxsup defects takes no more" defects more

refuses $not_found "cannot run nosuch: No such file" run nosuch
refuses $not_found "cannot run ./nosuch: No such file" run ./nosuch
refuses $not_executable "cannot run /etc/passwd: Permission denied" run /etc/passwd
refuses $not_executable "cannot run /: Permission denied" run /
refuses $failed "cannot start in /nosuch: No such file" run --directory=/nosuch true
refuses $usage "--write: /nosuch: No such file" run --write=/nosuch true

# A name is looked for where the command starts.
mkdir "$work/project"
printf '#!/bin/sh\necho here\n' >"$work/project/upgrade"
chmod 755 "$work/project/upgrade"
for options in '' --root=/; do
    for name in ./upgrade "$work/project/upgrade"; do
        got=$(boxsup run ${options:+"$options"} --directory="$work/project" -- "$name")
        [[ $got == here ]] || fail "$options $name in --directory: $got"
    done
    got=$(PATH=.:$PATH boxsup run ${options:+"$options"} --directory="$work/project" -- upgrade)
    [[ $got == here ]] || fail "$options, in a relative PATH: $got"
    (cd "$work/project" && refuses $not_found "cannot run ./upgrade: No such file" \
        run ${options:+"$options"} --directory=/ -- ./upgrade)
done

# A profile.
refuses $usage "--profile: cannot read /nosuch: No such file" run --profile=/nosuch true
refuses $usage "--profile: cannot read $work: Is a directory" run --profile="$work" true
printf '# comment\n\n  cpus=3\nhostname=of-a-profile\nseed=1\n' >"$work/profile"
got=$(boxsup run --profile="$work/profile" --cpus=4 -- sh -c 'uname -n; grep -c ^proc /proc/cpuinfo')
[[ $got == $'of-a-profile\n4' ]] || fail "a profile, and an option after it: $got"
printf 'cpus=3\nmemory=3x\n' >"$work/profile"
refuses $usage "--profile: $work/profile, line 2: --memory: 3x is not a size" \
    run --profile="$work/profile" true
printf 'nonsense' >"$work/profile"
refuses $usage "line 1: --nonsense is not an option here" run --profile="$work/profile" true
printf 'profile=%s\n' "$work/profile" >"$work/profile"
refuses $usage "line 1: --profile: a profile cannot name another" run --profile="$work/profile" true
printf 'hostname=%05000d\n' 1 >"$work/profile"
refuses $usage "line 1: --hostname: a host's name has from 1" run --profile="$work/profile" true
refuses $usage "/dev/zero is not a text of at most 65536 bytes" run --profile=/dev/zero true
chmod 000 "$work/profile"
[[ $(id -u) -eq 0 ]] && as=(setpriv --reuid=65534 --regid=65534 --clear-groups)
refuses $usage "--profile: cannot read $work/profile: Permission denied" \
    run --profile="$work/profile" true
as=()

boxsup --help >/dev/null && boxsup run --help >/dev/null && boxsup churn --help >/dev/null
[[ $(boxsup --version) == "boxsup "[0-9]* ]] || fail "no version"
