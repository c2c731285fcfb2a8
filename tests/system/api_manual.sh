# api_manual.sh: the example of boxledger.h(3) compiles as it is printed and does what it says, and
# the page names every function of the header.
. "$(dirname "$0")/harness.sh"
page=$source/doc/boxledger.h.3
cc=${CC:-cc}
need_tool "${cc%% *}"

# Between the first .EX and .EE, as troff prints it: \e is a backslash, \- a dash.
awk '/^\.EX/ { n++; next } /^\.EE/ { if (n == 1) exit } n == 1' "$page" |
    sed -e 's/\\e/\\/g' -e 's/\\-/-/g' >"$work/example.c"
grep -q main "$work/example.c" || fail "no example in the page"
$cc -std=c17 -D_GNU_SOURCE -Wall -Wextra -Werror -I"$source/src" -o "$work/example" \
    "$work/example.c" || fail "the example does not compile"
[[ -z $("$work/example") ]] || fail "without the shim it says something"
said=$(LD_PRELOAD=$shim "$work/example" 2>"$work/err") || fail "status $?: $(<"$work/err")"
[[ $said == "descriptors left behind: 1" ]] || fail "it says: $said"

sed -n 's/^static inline .* \(boxledger_[a-z_]*\)(.*/\1/p' "$source/src/boxledger.h" >"$work/names"
[[ $(wc -l <"$work/names") -ge 10 ]] || fail "the functions of boxledger.h were not found"
while read -r name; do
    grep -q "$name" "$page" || fail "boxledger.h(3) does not describe $name"
done <"$work/names"
if command -v man >/dev/null; then
    man --warnings -E UTF-8 -l -Tutf8 -Z "$page" 2>"$work/warnings" >/dev/null || true
    [[ ! -s $work/warnings ]] || fail "the page: $(<"$work/warnings")"
fi
