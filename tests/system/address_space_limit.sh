# address_space_limit.sh: the shim takes next to nothing of the program's RLIMIT_AS (DESIGN 2).
. "$(dirname "$0")/harness.sh"
ulimit -v 200000
bare_kib=$(bare memory_limits space) || judge $? "bare"
shim_kib=$(shimmed memory_limits space) || judge $? "under the shim"
echo "$bare_kib KiB without the shim, $shim_kib with it"
[[ $((bare_kib - shim_kib)) -lt 12288 ]] || fail "the shim takes $((bare_kib - shim_kib)) KiB"
