# sanitized.sh: programs that bring a sanitizer's runtime run as they do without the shim: no crash,
# no false alarm, the same output and status, and the report comes.
. "$(dirname "$0")/harness.sh"
need_command
cat >"$work/program.c" <<'END'
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static void *works(void *argument)
{
    for (int i = 0; i < 200; i++) {
        int fd = open("/dev/null", O_RDONLY);
        char *page = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        *page = 1;
        munmap(page, 4096);
        close(fd);
        free(malloc(1000));
    }
    return argument;
}

int main(void)
{
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], 0, works, 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], 0);
    open("/etc/passwd", O_RDONLY);
    puts("worked");
    return 5;
}
END

tried=0
same() { # WHAT COMMAND...
    local what=$1 status=0
    shift
    timeout -k 5 60 "$@" >"$work/out" 2>"$work/err" || status=$?
    [[ $status -eq 5 && $(<"$work/out") == worked ]] ||
        fail "$what: status $status: $(head -5 "$work/err")"
}
for compiler in gcc clang; do
    for sanitizer in address thread undefined leak memory; do
        program=$work/$compiler-$sanitizer
        "$compiler" -g "-fsanitize=$sanitizer" -o "$program" "$work/program.c" -pthread \
            >/dev/null 2>&1 || continue
        status=0
        timeout 60 "$program" >/dev/null 2>&1 || status=$?
        [[ $status -eq 5 ]] || continue # this machine cannot run it
        tried=$((tried + 1))
        if [[ $compiler-$sanitizer != gcc-address ]]; then # wants to be first; the command sees to it
            same "$compiler $sanitizer, preloaded" env LD_PRELOAD="$shim" "$program"
            grep -q '^SUMMARY: boxledger' "$work/err" || fail "$compiler $sanitizer: no report"
            ! grep -q 'WARNING: .*Sanitizer' "$work/err" || fail "$compiler $sanitizer: alarm"
        fi
        same "$compiler $sanitizer" env BOXLEDGER_SHIM="$shim" \
            "$boxledger" run --report="$work/report" -- "$program"
        [[ ! -s $work/err ]] || fail "$compiler $sanitizer: $(head -5 "$work/err")"
    done
done
[[ $tried -gt 0 ]] || skip "no compiler here makes sanitized programs"
