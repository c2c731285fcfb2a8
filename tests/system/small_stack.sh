# small_stack.sh: on an 8 KiB alternate stack no wrapper needs 1 KiB more than its call (promise 7).
. "$(dirname "$0")/harness.sh"
status=0; bare small_stack >"$work/bare" || status=$?
judge $status "small_stack without the shim"
shimmed small_stack >"$work/shimmed" || status=$?
judge $status "small_stack under the shim"
join "$work/bare" "$work/shimmed" | awk '{ print; if ($3 > $2 + 1024) bad = bad " " $1 "(" $2 " -> " $3 ")" }
    END { if (bad) { print "FAIL: calls that need more than 1 KiB of stack:" bad; exit 1 } }'
