/*
 * code_replaced.c: dlclose, then dlopen of other code at the same address, with other frames
 * (DESIGN 9, STYLE: never a wrong frame). Each stack must run through the library that was there
 * at the time, and go on in this program.
 */
#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "system.h"

#define ROUNDS 40

static uint64_t here_start, here_end; /* call_plug's code */

__attribute__((noinline, section(".text.call_plug"))) static int call_plug(int (*take)(void))
{
    int fd = take();
    __asm__ volatile("" : "+r"(fd));
    return fd;
}

static const struct ledger_module *module_of(const struct ledger_view *view, uint64_t pc,
                                             uint32_t generation)
{
    for (uint64_t i = 1; i < view->header->used[LEDGER_MODULES]; i++) {
        const struct ledger_module *m = ledger_view_record(view, LEDGER_MODULES, i);
        if (m && ledger_view_state(m->state) >= LEDGER_LIVE && m->start <= pc && pc < m->end &&
            m->generation_first <= generation && generation <= m->generation_last)
            return m;
    }
    return NULL;
}

static void check_stack(int fd, const char *library, uint64_t code)
{
    struct ledger_view view;
    if (system_ledger == NULL ||
        !check(ledger_view_open(&view, system_ledger) == 0, "the ledger cannot be read"))
        return;
    const struct ledger_fd *record = ledger_view_fd(&view, (unsigned)fd);
    if (check(record != NULL, "%s: descriptor %d is not recorded", library, fd)) {
        uint64_t first = ledger_view_frame(&view, record->stack, 0);
        uint64_t second = ledger_view_frame(&view, record->stack, 1);
        const struct ledger_stack *stack = ledger_view_record(&view, LEDGER_STACKS, record->stack);
        const struct ledger_module *m = module_of(&view, first, stack->generation);
        check(first > code && first < code + 512, "%s: frame 0 is %#lx, not within %#lx", library,
              first, code);
        check(second == 0 ? stack->flags & LEDGER_STACK_TRUNCATED
                          : second > here_start && second < here_end,
              "%s: frame 1 is %#lx, not within %#lx-%#lx", library, second, here_start, here_end);
        check(second != 0, "%s: the stack ends in the library", library);
        if (check(m != NULL, "%s: no module for %#lx in generation %u", library, first,
                  stack->generation))
            check(strstr(ledger_view_string(&view, m->path), library) != NULL,
                  "a stack through %s is said to run through %s", library,
                  ledger_view_string(&view, m->path));
    }
    ledger_view_close(&view);
}

int main(int argc, char **argv)
{
    system_start(argc, argv, 30);
    static const char *const libraries[2] = {"libplug-small.so", "libplug-large.so"};
    uint64_t place[2] = {0, 0};
    unsigned same = 0;
    int fds[ROUNDS];

    here_start = (uint64_t)call_plug;
    here_end = here_start + 128;
    for (int i = 0; i < ROUNDS; i++) {
        const char *library = libraries[i & 1];
        void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
        if (!check(handle != NULL, "%s", handle ? "" : dlerror()))
            return system_end();
        int (*take)(void) = (int (*)(void))dlsym(handle, "plug_take");
        place[i & 1] = (uint64_t)take;
        same += i > 0 && place[0] == place[1];
        fds[i] = call_plug(take);
        check_stack(fds[i], library, (uint64_t)take);
        dlclose(handle);
    }
    printf("%u of %d loads were at the address of the other library\n", same, ROUNDS - 1);
    check(same > 0, "the two libraries were never at one address: this test shows nothing");
    for (int i = 0; i < ROUNDS; i++)
        close(fds[i]);
    expect_exact("after the code was gone");
    return system_end();
}
