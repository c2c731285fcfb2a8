# api_languages.sh: boxledger.h needs no library, in C and in C++, in several files of one program.
. "$(dirname "$0")/harness.sh"
flags=(-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror -I"$source/src")
cc=${CC:-cc}
cxx=${CXX:-c++}
need_tool "${cc%% *}"

# Two files that include it link: nothing in it is defined twice.
printf '#include "boxledger.h"\nint other(void);\nint other(void)\n{\n    return boxledger_present();\n}\n' \
    >"$work/other.c"
for standard in c99 c17 gnu17; do
    $cc -std=$standard "${flags[@]}" -o "$work/c" "$source/tests/system/api_present.c" \
        "$work/other.c" -D_GNU_SOURCE || fail "C, -std=$standard"
done
[[ $("$work/c") == "0 0" ]] || fail "C without the shim: $("$work/c")"
[[ $(LD_PRELOAD=$shim "$work/c" 2>/dev/null) == "1 0" ]] || fail "C under the shim"
! readelf -d "$work/c" | grep -i boxledger || fail "it needs a library"

need_tool "${cxx%% *}"
for standard in c++11 c++20; do
    $cxx -std=$standard "${flags[@]}" -o "$work/cxx" "$source/tests/system/api_cxx.cc" ||
        fail "C++, -std=$standard"
done
"$work/cxx" || fail "C++ without the shim: status $?"
[[ $(LD_PRELOAD=$shim "$work/cxx" 2>"$work/err" </dev/null) == good ]] || fail "C++ under the shim"
