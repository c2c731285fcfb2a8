/*
 * unwind_cfi_query.c: what the unwinder's reader makes of a shared object's CFI.
 *
 *   unwind_cfi_query OBJECT < addresses
 *
 * For each address of the file (hexadecimal, one a line) prints one line: the CFA, where rbp and
 * the return address are, in the terms of `readelf --debug-dump=frames-interp`.
 */
#include <dlfcn.h>
#include <elf.h>
#include <inttypes.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>

#include "preload/unwind_cfi.h"

#if defined(__x86_64__)
#define SP "rsp"
#define BP "rbp"
#else
#define SP "sp"
#define BP "x29"
#endif

static struct unwind_tables tables_of(const struct link_map *map)
{
    const ElfW(Ehdr) *elf = (const ElfW(Ehdr) *)map->l_addr;
    const ElfW(Phdr) *phdr = (const ElfW(Phdr) *)(map->l_addr + elf->e_phoff);
    struct unwind_tables tables = {0, 0, 0};

    for (unsigned i = 0; i < elf->e_phnum; i++)
        if (phdr[i].p_type == PT_GNU_EH_FRAME)
            tables.hdr = map->l_addr + phdr[i].p_vaddr;
    for (unsigned i = 0; i < elf->e_phnum; i++) {
        uintptr_t lo = map->l_addr + phdr[i].p_vaddr;

        if (phdr[i].p_type == PT_LOAD && tables.hdr >= lo && tables.hdr - lo < phdr[i].p_filesz) {
            tables.lo = lo;
            tables.hi = lo + phdr[i].p_filesz;
        }
    }
    return tables;
}

static void print_bp(const struct unwind_layout *layout)
{
    switch (layout->bp_saved) {
    case UNWIND_SAME:
        printf(" u");
        break;
    case UNWIND_AT_CFA:
        printf(" c%+d", layout->bp);
        break;
    case UNWIND_AT_BP:
        printf(" exp");
        break;
    default:
        printf(" lost");
        break;
    }
}

static void print_layout(const struct unwind_layout *layout)
{
    switch (layout->form) {
    case UNWIND_NONE:
        printf("none\n");
        return;
    case UNWIND_END:
        printf("end\n");
        return;
    case UNWIND_OPAQUE:
        printf("opaque\n");
        return;
    case UNWIND_CFA_SP:
    case UNWIND_CFA_BP:
        printf("%s%+d", layout->form == UNWIND_CFA_SP ? SP : BP, layout->cfa);
        break;
    default:
        printf("exp");
        break;
    }
    print_bp(layout);
    if (layout->ra_saved == UNWIND_AT_CFA)
        printf(" c%+d\n", layout->ra);
    else
        printf(" u\n");
}

int main(int argc, char **argv)
{
    struct unwind_tables tables;
    struct link_map *map;
    void *handle;
    char line[64];

    if (argc != 2 || !(handle = dlopen(argv[1], RTLD_LAZY)) ||
        dlinfo(handle, RTLD_DI_LINKMAP, &map) != 0) {
        fprintf(stderr, "unwind_cfi_query: %s\n", argc == 2 ? dlerror() : "one object");
        return 2;
    }
    tables = tables_of(map);
    while (fgets(line, sizeof(line), stdin)) {
        uintptr_t address = map->l_addr + strtoull(line, NULL, 16);
        struct unwind_layout layout = unwind_cfi_layout(&tables, address, address);

        print_layout(&layout);
    }
    return 0;
}
