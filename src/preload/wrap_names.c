/*
 * wrap_names.c: threads and children that rules of the user's make sandboxes.
 *
 * `owner thread name=PATTERN`: such a sandbox begins when the thread is given a name like that, and
 * ends when it is given another or ends. `owner child exe=PATTERN`: a child that was reaped and
 * never ran such a program was none. Without such rules nothing here does anything.
 */
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#include "decimal.h"
#include "wrap.h"

#define KEYS_WITHOUT_MEMORY 32u /* glibc allocates for the values of later ones: nptl/descr.h */
#define PATH_TEXT 512u

/* process-global because it describes the process: where the rules are that it was started with */
static char path[PATH_TEXT];
/* process-global, like the rules in it; one more than may be there */
static char text[RULES_TEXT_MAX + 1];
/* process-global: tells the end of any thread that is a sandbox */
static pthread_key_t ending;

/* --- the file --------------------------------------------------------------------------------- */

static void warn(void *context, unsigned line, const char *what)
{
    char digits[DECIMAL_MAX + 1];
    (void)context;
    *decimal_put(digits, line) = 0;
    shim_say(
        (const char *[]){"boxledger: warning: ", path, ":", digits, ": ", what, "; ignored", NULL});
}

/* -1: it cannot be read. */
static long read_rules(void)
{
    long fd = raw_syscall4(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NOCTTY, 0);
    size_t length = 0;
    if (raw_failed(fd)) {
        return -1;
    }
    for (;;) {
        long got = raw_syscall3(SYS_read, fd, text + length, sizeof(text) - length);
        if (got == -EINTR) {
            continue;
        }
        length += raw_failed(got) ? 0 : (size_t)got;
        if (raw_failed(got) || got == 0 || length == sizeof(text)) {
            raw_syscall1(SYS_close, fd);
            return raw_failed(got) ? -1 : (long)length;
        }
    }
}

static void thread_ends(void *unused);

/* What children write, and only they: memory that a fork shares. */
static void look_what_children_run(void)
{
    long board = raw_syscall6(SYS_mmap, 0, SANDBOX_RAN * sizeof(uint64_t), PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (raw_failed(board)) {
        shim_say((const char *[]){"boxledger: warning: ", path,
                                  ": no memory; owner child is ignored", NULL});
        return;
    }
    shim.sandbox.ran = (uint64_t *)board;
}

void shim_child_runs(const char *program)
{
    if (unlikely(shim.sandbox.ran != NULL) && !FAULT(programs_unknown)) {
        bool is_one =
            program && rules_match(&shim.rules, RULES_OWNER_CHILD, program, strlen(program));
        child_runs(&shim.sandbox, &shim_thread.sandbox, is_one);
    }
}

void shim_rules_begin(void)
{
    const struct options_text *option = &shim.options.rules;
    if (!option->text) {
        return;
    }
    if (option->length >= sizeof(path)) {
        shim_say((const char *[]){"boxledger: warning: the name of the rules' file is too long; "
                                  "ignored",
                                  NULL});
        return;
    }
    memcpy(path, option->text, option->length);
    long length = read_rules();
    if (length < 0) {
        shim_say((const char *[]){"boxledger: warning: the rules ", path,
                                  " cannot be read; ignored", NULL});
        return;
    }
    rules_parse(&shim.rules, text, (size_t)length, warn, NULL);
    if (shim.rules.of_kind[RULES_OWNER_CHILD]) {
        look_what_children_run();
    }
    if (shim.rules.of_kind[RULES_OWNER_THREAD] &&
        (!real.pthread_key_create || real.pthread_key_create(&ending, thread_ends) != 0 ||
         ending >= KEYS_WITHOUT_MEMORY)) {
        shim_say((const char *[]){"boxledger: warning: ", path,
                                  ": the ends of threads cannot be seen; owner thread is ignored",
                                  NULL});
        shim.rules.of_kind[RULES_OWNER_THREAD] = 0;
    }
}

/* --- names ------------------------------------------------------------------------------------ */

static void end_sandbox(const struct sandbox_event *event, uint32_t stack)
{
    uint32_t owner = event->thread->thread_owner;
    if (owner) {
        event->thread->thread_owner = 0;
        ledger_owner_end(event->ledger, event->actor, owner, stack);
    }
}

/* `stack`: where it got the name; 0: in this very event. */
static void become(const struct sandbox_event *event, const char *name, uint32_t stack)
{
    struct sandbox_thread *thread = event->thread;
    const struct ledger_owner *old = ledger_owner(event->ledger, thread->thread_owner);
    size_t length = strnlen(name, sizeof(shim_thread.name) - 1);
    if (old && old->label[length] == 0 && memcmp(old->label, name, length) == 0) {
        return;
    }
    stack = stack ? stack : sandbox_stack(event);
    end_sandbox(event, stack);
    if (!rules_match(&shim.rules, RULES_OWNER_THREAD, name, length) || FAULT(threads_unseen)) {
        return;
    }
    struct ledger_owner_event begin = {.kind = LEDGER_OWNER_THREAD,
                                       .label = name,
                                       .label_length = length,
                                       .parent =
                                           thread->depth ? thread->entered[thread->depth - 1] : 0,
                                       .stack = stack,
                                       .now_ns = event->now_ns};
    uint32_t owner = ledger_owner_begin(event->ledger, event->actor, &begin);
    if (owner && real.pthread_setspecific(ending, &shim_thread) == 0) {
        thread->thread_owner = owner;
    }
}

static void thread_ends(void *unused)
{
    (void)unused;
    if (shim_watching_memory() && shim_thread.sandbox.thread_owner && !FAULT(threads_stay)) {
        struct sandbox_event event = shim_sandbox_event(HERE);
        end_sandbox(&event, sandbox_stack(&event));
    }
}

void shim_thread_named(const struct unwind_start *here, const char *name)
{
    if (likely(shim.rules.of_kind[RULES_OWNER_THREAD] == 0) || !shim_watching()) {
        return;
    }
    struct sandbox_event event = shim_sandbox_event(here);
    become(&event, name, 0);
}

void shim_thread_renamed(void)
{
    if (__atomic_exchange_n(&shim_thread.renamed, 0, __ATOMIC_ACQUIRE)) {
        struct sandbox_event event = shim_sandbox_event(NULL);
        become(&event, shim_thread.name, shim_thread.renamed_stack);
    }
}

/* In glibc a thread's static storage lies at one distance from its descriptor, in all threads. The
 * thread itself begins the sandbox, at what it does next. */
static void name_other(const struct unwind_start *here, pthread_t thread, const char *name)
{
    uintptr_t distance = (uintptr_t)&shim_thread - (uintptr_t)pthread_self();
    struct shim_thread *other = (struct shim_thread *)((uintptr_t)thread + distance);
    other->renamed_stack = shim_stack(here);
    strncpy(other->name, name, sizeof(other->name) - 1);
    __atomic_store_n(&other->renamed, 1, __ATOMIC_RELEASE);
}

/* pthread_setname_np.3 */
EXPORT int pthread_setname_np(pthread_t thread, const char *name)
{
    if (unlikely(REAL(pthread_setname_np) == NULL)) {
        return ENOSYS;
    }
    int result = real.pthread_setname_np(thread, name);
    if (likely(result != 0 || shim.rules.of_kind[RULES_OWNER_THREAD] == 0) || !shim_watching()) {
        return result;
    }
    if (pthread_equal(thread, pthread_self())) {
        shim_thread_named(HERE, name);
    } else {
        name_other(HERE, thread, name);
    }
    return result;
}
