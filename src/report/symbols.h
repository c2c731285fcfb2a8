/*
 * symbols.h: from a ledger's addresses to functions, files and lines, with libdw.
 *
 * Names come from the very file that was loaded, known by its build-id, or from its separate
 * debug file; where that is gone or another, a frame has an object and an offset and no more.
 */
#ifndef BOXLEDGER_REPORT_SYMBOLS_H
#define BOXLEDGER_REPORT_SYMBOLS_H

#include "report/reader.h"

struct symbols_frame {
    uint64_t pc;        /* of the call: a return address less one, as the sanitizers print it */
    uint64_t offset;    /* pc in the object's own terms: what addr2line(1) takes */
    const char *object; /* path; "" : code without a file */
    const char *function, *file; /* demangled; "": unknown */
    unsigned line;               /* 0: unknown */
    bool inlined;                /* into the frame that follows it */
};

struct symbols_stack {
    struct symbols_frame *frames; /* innermost first */
    size_t count;
    bool truncated; /* its outer frames could not be had */
};

/* The objects opened so far, and what was found in them; serves any number of ledgers. */
struct symbols;
struct symbols *symbols_new(void);
void symbols_free(struct symbols *symbols);
/* From now on nothing but the innermost frame outside of the C library is named, for which much
 * less is to be read: stacks end there. */
void symbols_name_one_place(struct symbols *symbols);
/* Whether an object is the C library's own: mmap is in it, open. */
bool symbols_is_libc(const char *object);

/* The module that held `pc` in a generation of the ledger's module table; NULL: none. */
const struct ledger_module *symbols_module(const struct reader *reader, uint32_t generation,
                                           uint64_t pc);

/* The stack with its names, kept by `symbols`; NULL if the ledger has none of that index. */
const struct symbols_stack *symbols_resolve(struct symbols *symbols, const struct reader *reader,
                                            uint32_t stack);

/* Opens the objects that the stacks of what is held lead through, and reads of their debug
 * information what the first name needs: nearly all of the time that names take. */
void symbols_read_ahead(struct symbols *symbols, const struct reader *reader);

/* Demangles C++ and Rust (legacy and v0); returns `name` itself where it is neither. The result
 * lives in `arena`. */
const char *symbols_demangle(struct arena *arena, const char *name);

#endif
