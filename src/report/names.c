/*
 * names.c: what a report calls a descriptor, a mapping or a kind of sandbox, so that what is alike
 * has one name. It asks nobody: the kernel's names were looked up before.
 */
#include "report/names.h"

#include <string.h>

#include "ledger/fault.h"
#include "ledger/kinds.h"

const char *names_of_kernel(struct arena *arena, const char *name)
{
    enum ledger_fd_kind kind = verify_kind_of_name(name);
    size_t length;

    if (kind == LEDGER_FD_MEMFD)
        return name + 1;
    if (kind != LEDGER_FD_UNKNOWN)
        return ledger_fd_kind_names[kind];
    if (strncmp(name, "anon_inode:", 11) == 0) {
        name += 11;
        name += name[0] == '[';
        length = strcspn(name, "]:");
        return arena_text(arena, name, length);
    }
    if (name[0] != '/') { /* net:[4026531840] */
        length = strcspn(name, ":");
        return arena_text(arena, name, length);
    }
    if (strncmp(name, "/dev/", 5) == 0)
        return name;
    if (strncmp(name, "/proc/", 6) == 0 || strncmp(name, "/sys/", 5) == 0) {
        char *what = arena_alloc(arena, 4 * strlen(name) + 1), *to = what;

        for (const char *from = name; *from;) {
            size_t digits = from > name && from[-1] == '/' ? strspn(from, "0123456789") : 0;

            if (digits && (from[digits] == '/' || from[digits] == '\0')) {
                *to++ = 'N';
                from += digits;
            } else {
                *to++ = *from++;
            }
        }
        return what;
    }
    return ledger_fd_kind_names[LEDGER_FD_FILE];
}

const char *names_of_fd(struct arena *arena, const struct verify_held *held)
{
    unsigned kind = held->fd->kind < LEDGER_FD_KINDS ? held->fd->kind : LEDGER_FD_UNKNOWN;

    if (held->name && !FAULT(names_unsaid) &&
        (kind == LEDGER_FD_UNKNOWN || kind == LEDGER_FD_RECEIVED || kind == LEDGER_FD_IOCTL ||
         kind == LEDGER_FD_DUP || (held->fd->flags & LEDGER_ADOPTED)))
        return names_of_kernel(arena, held->name);
    return ledger_fd_kind_names[kind];
}

const char *names_of_mapping(struct arena *arena, const struct verify_held *held)
{
    unsigned flags = held->mapping->flags;

    if (flags & LEDGER_KEPT)
        return !(flags & LEDGER_FILE_MAP) && (held->mapping->detail & LEDGER_WAITS)
                   ? "memory that waits to be unmapped"
                   : "reclaimed range";
    if ((flags & LEDGER_ADOPTED) && held->name && held->name[0] == '/')
        return names_of_kernel(arena, held->name);
    if (flags & LEDGER_SHM_MAP)
        return "shared memory segment";
    if (flags & LEDGER_FILE_MAP)
        return flags & LEDGER_SHARED_MAP ? "shared file mapping" : "private file mapping";
    if (flags & LEDGER_STACK_MAP)
        return "stack";
    return flags & LEDGER_SHARED_MAP ? "shared anonymous memory" : "private anonymous memory";
}

const char *names_of_owner(uint32_t kind)
{
    static const char *const names[LEDGER_OWNER_KINDS] = {
        [LEDGER_OWNER_NONE] = "supervisor", [LEDGER_OWNER_KVM] = "kvm",
        [LEDGER_OWNER_CHILD] = "child",     [LEDGER_OWNER_SECCOMP] = "seccomp",
        [LEDGER_OWNER_API] = "api",         [LEDGER_OWNER_THREAD] = "thread",
    };

    return kind < LEDGER_OWNER_KINDS && names[kind] ? names[kind] : "other";
}
