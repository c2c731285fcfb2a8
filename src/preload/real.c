/*
 * real.c: finding the real functions.
 *
 * dlsym allocates only to report a failure that somebody then asks about; it runs in the
 * constructor, before the program.
 */
#include <dlfcn.h>
#include <gnu/libc-version.h>
#include <link.h>
#include <stddef.h>
#include <string.h>

#include "real.h"

/* process-global because the process has one libc */
struct real_calls real;
/* process-global because the process has one libc */
bool real_chained;

static bool is_of_libc(const void *function)
{
    Dl_info libc, its;
    return dladdr((const void *)gnu_get_libc_version, &libc) != 0 && dladdr(function, &its) != 0 &&
           its.dli_fbase == libc.dli_fbase;
}

/* What an object itself defines, by its GNU hash table, whoever stands before it. (A dlopen of what
 * is loaded would do as well, but not this early: libraries that begin later are upset by it.) */
static void *defined_by(const struct link_map *object, const char *name)
{
    const ElfW(Sym) *symbols = NULL;
    const char *strings = NULL;
    const uint32_t *table = NULL;
    for (const ElfW(Dyn) *entry = object->l_ld; entry->d_tag != DT_NULL; entry++) {
        const void *at = (const void *)entry->d_un.d_ptr;
        symbols = entry->d_tag == DT_SYMTAB ? at : symbols;
        strings = entry->d_tag == DT_STRTAB ? at : strings;
        table = entry->d_tag == DT_GNU_HASH ? at : table;
    }
    if (!symbols || !strings || !table || (ElfW(Addr))table < object->l_addr) {
        return NULL;
    }
    uint32_t hash = 5381; /* of DT_GNU_HASH, as all of this */
    for (const char *c = name; *c; c++) {
        hash = hash * 33 + (unsigned char)*c;
    }
    uint32_t buckets = table[0], first = table[1], filters = table[2];
    const uint32_t *bucket = (const uint32_t *)((const ElfW(Addr) *)&table[4] + filters);
    const uint32_t *chain = bucket + buckets;
    uint32_t i = bucket[hash % buckets];
    for (bool more = i >= first; more; i++) {
        const ElfW(Sym) *symbol = &symbols[i];
        if ((chain[i - first] | 1) == (hash | 1) && symbol->st_shndx != SHN_UNDEF &&
            ELF64_ST_TYPE(symbol->st_info) == STT_FUNC &&
            strcmp(strings + symbol->st_name, name) == 0) {
            return (void *)(object->l_addr + symbol->st_value);
        }
        more = !(chain[i - first] & 1);
    }
    return NULL;
}

/* A preload that fakes the time may do anything in its clock_gettime, allocate and lock too, and it
 * has not begun yet; and the ledger's time is the kernel's. */
static void find_clock(void)
{
    Dl_info info;
    struct link_map *libc = NULL;
    if (is_of_libc((const void *)real.clock_gettime) ||
        !dladdr1((const void *)gnu_get_libc_version, &info, (void **)&libc, RTLD_DL_LINKMAP) ||
        !libc) {
        return;
    }
    void *function = defined_by(libc, "clock_gettime");
    if (function) {
        *(void **)&real.clock_gettime = function;
    }
}

void real_find(void)
{
    static const struct {
        char name[20];
        unsigned offset;
    } calls[] = {
#define CALL(type, name, params) {#name, offsetof(struct real_calls, name)},
#include "calls.def"
#undef CALL
    };
    for (unsigned i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        *(void **)((char *)&real + calls[i].offset) = dlsym(RTLD_NEXT, calls[i].name);
    }
    find_clock();
    real_chained = !is_of_libc((const void *)real.mmap) || !is_of_libc((const void *)real.munmap) ||
                   !is_of_libc((const void *)real.mmap64) || !is_of_libc((const void *)real.dup) ||
                   !is_of_libc((const void *)real.memfd_create);
}
