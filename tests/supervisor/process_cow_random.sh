# process_cow_random.sh: random operations below --cow come to the same as in an ordinary directory,
# error for error, and what --commit leaves is what they would have left.
. "$(dirname "$0")/process.sh"
trap 'chmod -R u+rwX "$work"; rm -rf "$work"' EXIT
seeds=${1:-6}
((long)) && seeds=60
here=$(cd "$(dirname "$0")" && pwd)
cp "$here/cow_operations.py" "$work"
chmod 644 "$work/cow_operations.py"
export PYTHONHASHSEED=0 PYTHONDONTWRITEBYTECODE=1
first=$((RANDOM * 32768 + RANDOM))

# make_tree BASE
make_tree() {
    mkdir -p "$1/d0/d1" "$1/d1" "$1/d2"
    local file
    for file in f0 d0/f0 d0/f1 d0/d1/f2 d1/f0; do printf %5000s x >"$1/$file"; done
    ln -s f0 "$1/l0"
    ln -s d0/../d0/f1 "$1/l1"
    ln -s "$1/f0" "$1/d0/up"
    ln -s d1 "$1/there"
    ln -s nothing "$1/dangling"
    ln -s loop "$1/loop"
    ln -s "$1/d0" "$1/d2/there"
    ln -s "$1/d0/.." "$1/d1/up"
}
# left BASE
left() {
    (cd "$1" && chmod -R u+rwX . && find . -printf '%p %y %l\n' | sed "s,$1,BASE," | sort &&
        find . -type f -exec md5sum {} + | sort)
}
modes() { (cd "$1" && find . ! -type l -printf '%p %m\n' | sort); }

# As a process without capabilities, which those in a sandbox are.
python=/usr/bin/python3 # which every user may run
[[ -x $python ]] || python=python3
plain=()
[[ $(id -u) -ne 0 ]] || plain=(setpriv --inh-caps=-all --bounding-set=-all)
compare() {
    local seed place
    for ((seed = first; seed < first + seeds; seed++)); do
        place=$(mktemp -d "$work/XXXXXX")
        mkdir "$place/out" "$place/inn"
        make_tree "$place/out/tree"
        make_tree "$place/inn/tree"
        [[ ${#as[@]} -eq 0 ]] || chown -R 65534:65534 "$place"
        "${as[@]:-env}" "${plain[@]}" "$python" "$work/cow_operations.py" "$place/out/tree" $seed 300 \
            >"$place/expected" 2>&1 || fail "outside: $(tail -n 3 "$place/expected")"
        boxsup run --cow="$place/inn/tree" --commit -- \
            "$python" "$work/cow_operations.py" "$place/inn/tree" $seed 300 >"$place/got" 2>"$place/err" ||
            fail "${as[*]} seed $seed: status $?: $(tail -n 3 "$place/err")"
        diff "$place/expected" "$place/got" >&2 || fail "${as[*]} seed $seed: it went another way"
        diff <(modes "$place/out/tree") <(modes "$place/inn/tree") >&2 ||
            fail "${as[*]} seed $seed: other modes are written back"
        diff <(left "$place/out/tree") <(left "$place/inn/tree") >&2 ||
            fail "${as[*]} seed $seed: something else is written back"
        grep -q "ran" "$place/expected" || echo "seed $seed runs no program"
        rm -rf "$place"
    done
}
compare
if [[ $(id -u) -eq 0 ]]; then
    as=(setpriv --reuid=65534 --regid=65534 --clear-groups)
    plain=()
    compare
fi
