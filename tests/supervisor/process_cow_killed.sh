# process_cow_killed.sh: a temporary upper layer whose boxsup was killed goes when the next boxsup
# starts. One that is in use stays, and so does everything else that has such a name.
# shellcheck disable=SC2016
. "$(dirname "$0")/process.sh"
supervisors=()
trap '((${#supervisors[@]} == 0)) || kill -KILL "${supervisors[@]}" 2>/dev/null
    chmod -R u+rwX "$work"; rm -rf "$work"' EXIT

export TMPDIR=$work/uppers
directory=$work/directory
mkdir -m 777 "$TMPDIR" "$directory"
mkdir -p "$directory/deep/deeper/deepest"
for name in file deep/file deep/deeper/file deep/deeper/deepest/file; do
    echo old >"$directory/$name"
done
chmod -R a+rwX "$directory"

# Starts a sandbox that has changed something at every depth, and says its boxsup in $supervisor
# and its layer in $layer.
start() {
    local known i
    known=$(ls "$TMPDIR")
    : >"$work/ready"
    "${as[@]}" "$boxsup" run --cow="$directory" --directory="$directory" -- sh -c '
        for file in file deep/file deep/deeper/file deep/deeper/deepest/file; do
            echo new >"$file"
        done
        chmod 500 deep/deeper
        mkdir "removed-0" "removed-0/below"
        echo ready
        exec sleep 1000' >"$work/ready" &
    supervisor=$!
    supervisors+=("$supervisor")
    for ((i = 0; i < 400 && $(wc -c <"$work/ready") == 0; i++)); do sleep 0.05; done
    [[ $(<"$work/ready") == ready ]] || fail "${as[*]}: the sandbox did not start"
    layer=$TMPDIR/$(comm -13 <(echo "$known") <(ls "$TMPDIR"))
    [[ -d $layer ]] || fail "${as[*]}: there is no layer in $TMPDIR: $(ls "$TMPDIR")"
}
kill_it() { # the youngest first
    kill -KILL "$1"
    wait "$1" 2>/dev/null || true
    unset "supervisors[-1]"
}

swept() {
    local first first_layer
    start
    first=$supervisor first_layer=$layer
    start
    kill_it "$supervisor"
    [[ -d $layer ]] || fail "${as[*]}: nothing stayed, so this test shows nothing"
    boxsup run --cow="$directory" -- true || fail "${as[*]}: the next one fails"
    [[ ! -e $layer ]] || fail "${as[*]}: the layer of a boxsup that was killed stays"
    [[ -n $(find "$first_layer" -name file -size +0) ]] ||
        fail "${as[*]}: a layer in use was removed"
    # One that was begun to be removed: what was in the way has its name there already.
    "${as[@]}" mkdir -p "$first_layer/removed-0/below"
    kill_it "$first"
    boxsup run --cow="$directory" -- true || fail "${as[*]}: the next one fails"
    [[ -z $(ls "$TMPDIR") ]] || fail "${as[*]}: leaves $(ls "$TMPDIR")"
    [[ $(cat "$directory/deep/deeper/file") == old ]] || fail "${as[*]}: it has changed outside"
}
each_way swept

# What was never a layer of ours, or is its user's by now.
mkdir "$TMPDIR/boxsup-mine00" "$TMPDIR/boxsup-empty0"
echo mine >"$TMPDIR/boxsup-mine00/file"
mkdir "$work/target" "$TMPDIR/boxsup-other0"
echo mine | tee "$work/target/file" "$TMPDIR/boxsup-other0/file" >/dev/null
: >"$work/target/temporary"
ln -s "$work/target" "$TMPDIR/boxsup-link00"
ln -s "$work/target/temporary" "$TMPDIR/boxsup-other0/temporary"
before=$(find "$TMPDIR" "$work/target" | sort)
boxsup run --cow="$directory" -- true || fail "beside strangers it fails"
[[ $(find "$TMPDIR" "$work/target" | sort) == "$before" ]] || fail "what is no layer was removed"
rm -rf "$TMPDIR"/boxsup-* "$work/target"

# A layer that could not be written back is its user's.
as=()
[[ $(id -u) -ne 0 ]] || as=(setpriv --reuid=65534 --regid=65534 --clear-groups)
mkfifo "$work/goes_on"
boxsup run --commit --cow="$directory" --directory="$directory" -- \
    sh -c 'echo kept >deep/new; cat' <"$work/goes_on" 2>"$work/err" &
supervisor=$!
exec 7>"$work/goes_on"
kept() { cat "$TMPDIR"/boxsup-*/tree/deep/new 2>/dev/null || true; }
for ((i = 0; i < 400 && $(kept | wc -c) == 0; i++)); do sleep 0.05; done
mode=555
[[ $(id -u) -ne 0 ]] || mode=755
chmod "$mode" "$directory/deep"
exec 7>&-
status=0
wait "$supervisor" || status=$?
[[ $status -eq $failed ]] || fail "it was written back: status $status, $(<"$work/err")"
boxsup run --cow="$directory" -- true || fail "beside a layer that is kept it fails"
[[ $(kept) == kept ]] || fail "a layer that is kept was removed"
