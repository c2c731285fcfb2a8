# process_privileges.sh: a sandbox has no capabilities, whoever starts it, and what boxsup does for
# it is done without: root inside is a user like others.
# shellcheck disable=SC2016
. "$(dirname "$0")/process.sh"

none() {
    local sets='Inh|Prm|Eff|Amb'
    # Only who has some can lose those that an execve could give.
    [[ ${as[0]-} == setpriv || $(id -u) -ne 0 ]] || sets+='|Bnd'
    boxsup run -- grep -E "^Cap($sets)" /proc/self/status >"$work/out" || fail "status $?"
    [[ $(grep -cE ':.0{16}$' "$work/out") -eq $(tr '|' '\n' <<<"$sets" | wc -l) ]] ||
        fail "${as[*]}: $(<"$work/out")"
}
each_way none
[[ $(id -u) -eq 0 ]] || skip "the rest is about root"

# An ordinary user's ambient ones.
as=(setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=+chown --ambient-caps=+chown)
grep -q '^CapEff:.*[1-9a-f]' < <("${as[@]}" cat /proc/self/status) || fail "nothing to be lost"
none
as=()

mkdir -m 700 "$work/theirs" "$work/own"
echo secret >"$work/theirs/file"
echo secret >"$work/unreadable"
echo mine >"$work/own/file"
chmod 600 "$work/unreadable" "$work/own/file"
chown -R 65534:65534 "$work/theirs" "$work/unreadable"

# inside STATUS SCRIPT
inside() {
    local status=0
    boxsup run "${options[@]}" -- sh -c "$2" >"$work/out" 2>"$work/err" || status=$?
    [[ $status -eq $1 ]] || fail "${options[*]} $2: status $status, not $1: $(<"$work/err")"
}
options=(--write="$work")
inside 0 '[ "$(id -u)" = 0 ]'
inside 0 "cat $work/own/file; echo more >>$work/own/file"
inside 1 "cat $work/theirs/file"
inside 1 "cat $work/unreadable"
inside 2 "echo x >$work/theirs/new"
# boxsup itself changes modes, owners and times: with no more rights.
inside 1 "chmod 777 $work/unreadable"
inside 1 "chown 65534 $work/own/file"
inside 1 "touch -d 2001-01-01 $work/theirs/file"
inside 0 "chmod 640 $work/own/file && touch -d 2001-01-01 $work/own/file"
inside 1 "setpriv --reuid=65534 true || exit 1"
# Nor does it open more: copies, and another root.
options=(--shadow="$work")
inside 0 "cat $work/own/file"
inside 1 "cat $work/unreadable"
inside 1 "cat $work/theirs/file"
[[ $(<"$work/err") == *"Permission denied"* ]] || fail "$(<"$work/err")"
