# jemalloc.sh: a program under jemalloc, linked, and preloaded before and after the shim.
. "$(dirname "$0")/harness.sh"
jemalloc=$(ldconfig -p 2>/dev/null | sed -n 's/.*libjemalloc\.so\.2.* => //p' | head -1)
[[ -n $jemalloc ]] || skip "libjemalloc.so.2 is not installed"
shimmed allocator || fail "without jemalloc"
first=$jemalloc shimmed allocator || fail "jemalloc before the shim"
first='' last=$jemalloc shimmed allocator || fail "jemalloc after the shim"
if [[ -x $programs/allocator_jemalloc ]]; then
    shimmed allocator_jemalloc || fail "linked with jemalloc"
fi
