/*
 * unwind_modules.c: the table of loaded modules.
 *
 * What is loaded is asked of `_dl_find_object` (glibc 2.35), which takes no lock; before that, of
 * the debugger's list in `_r_debug`, while the loader says that it is consistent. The table beside
 * it remembers what a module's headers said and gives each module that was ever seen on a stack
 * one record, through the sink.
 *
 * A module's memory (headers, notes, tables, name) is read only while one of its addresses is a
 * frame of the calling thread: then nobody may unload it. Of all others only numbers are compared.
 * Nothing here waits: the table's one writer is who gets its try-lock; who does not, reads the
 * module's headers for this once and writes nothing down.
 */
#include "unwind_modules.h"
#include "ledger/format.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/auxv.h>

#include "raw.h"
#include "unwind.h"
#include "unwind_memo.h"

#define MODULES_MAX 1024
#define REPORTS_MAX 64 /* tries at a sink that drops; its ledger is full, then */

#ifndef AT_FDCWD
#define AT_FDCWD -100
#endif

/* struct dl_find_object of <dlfcn.h>, which older headers lack. */
struct found_object {
    unsigned long long flags;
    uintptr_t start;
    uintptr_t end;
    const struct link_map *map;
    uintptr_t hdr;
    unsigned long long reserved[7];
};

/* glibc 2.35 and later. Where it is missing, _r_debug is walked. */
#ifdef UNWIND_WITHOUT_DL_FIND_OBJECT /* tests: how it works on an older glibc */
#define find_object_exactly ((int (*)(void *, struct found_object *))0)
#else
extern int find_object_exactly(void *address,
                               struct found_object *result) __asm__("_dl_find_object")
    __attribute__((weak));
#endif

/* What is known of a module by numbers alone. */
struct object {
    uintptr_t start, end; /* of its mapped segments */
    const struct link_map *map;
    uintptr_t hdr; /* .eh_frame_hdr; 0: none */
};

enum module_state {
    MODULE_FREE = 0,
    MODULE_LIVE,
    MODULE_UNSURE, /* the same numbers as before, but there was a dlclose: look who it is */
};

struct module {
    _Atomic uint32_t sequence; /* odd while being written: readers look elsewhere */
    uint32_t record;           /* the sink's; 0: not yet reported */
    struct object object;
    uint64_t identity; /* over name, build-id, headers: the same numbers may hide another file */
    uintptr_t bias;
    uint32_t generation; /* it was seen first in */
    uint16_t reports;    /* tries at the sink */
    uint8_t state;       /* enum module_state */
    bool fleeting;       /* libc may unload it by itself, past any wrapper */
    struct unwind_code code;
};

/* process-global because code is loaded for all threads alike */
static struct module modules[MODULES_MAX];
/* process-global because it indexes `modules`: the start of each, packed for the search */
static _Atomic uintptr_t module_starts[MODULES_MAX];
/* process-global because it counts `modules`: slots ever used */
static _Atomic uint32_t modules_used;
/* process-global because `modules` has one writer at a time; tried, never waited for. 0: free */
static _Atomic uintptr_t modules_lock;
/* process-global because addresses mean the same to all threads */
static _Atomic uint32_t modules_generation = 1;
/* process-global because there is one ledger */
static unwind_module_sink module_sink;
/* process-global because the kernel maps one vdso; end 0: none */
static struct object vdso;
/* process-global because there is one main executable: its headers, by AT_PHDR, and its whole
 * range. The kernel may leave holes in it, and _dl_find_object then knows its segments only. */
static struct {
    const ElfW(Phdr) * phdr;
    size_t count;
    struct object object;
    char path[4096];
} executable;

/* The values of unwind_modules_stale_word. Whoever settles it may be overtaken by a dlopen or
 * dlclose, which writes STALE over SETTLING; until it is SETTLED nothing remembered is used. */
#define SETTLED 0
#define STALE 1
#define SETTLING 2

/* process-global because code is loaded for all threads alike: unwind.h */
uint32_t unwind_modules_stale_word;
/* process-global because a dlclose takes code from all threads: how many are under way */
uint32_t unwind_modules_closing;

/* FNV-1a: identities are compared with their own past only. */
static uint64_t identity_add(uint64_t hash, const void *data, size_t size)
{
    const uint8_t *byte = data;

    for (size_t i = 0; i < size; i++)
        hash = (hash ^ byte[i]) * UINT64_C(0x100000001b3);
    return hash;
}

static bool object_is_executable(const struct object *object)
{
    return executable.object.map && object->map == executable.object.map;
}

/* A module's program headers and what is added to their addresses. */
struct headers {
    const ElfW(Phdr) * phdr;
    size_t count;
    uintptr_t bias;
};

/* The ELF header is the first thing mapped of every file that linkers make; where it is not
 * there, the module is unknown code. */
static bool headers_read(const struct object *object, struct headers *headers)
{
    const ElfW(Ehdr) *elf = (const ElfW(Ehdr) *)object->start;

    headers->bias = object->map ? object->map->l_addr : 0;
    if (object_is_executable(object)) {
        headers->phdr = executable.phdr;
        headers->count = executable.count;
        return true;
    }
    if (memcmp(elf->e_ident, ELFMAG, SELFMAG) != 0 || elf->e_phentsize != sizeof(ElfW(Phdr)) ||
        elf->e_phoff > 4096 || elf->e_phnum > 64)
        return false;
    headers->phdr = (const ElfW(Phdr) *)(object->start + elf->e_phoff);
    headers->count = elf->e_phnum;
    if (!object->map) /* the vdso, where the loader does not list it: linked at its first load */
        for (size_t i = 0; i < headers->count; i++)
            if (headers->phdr[i].p_type == PT_LOAD) {
                headers->bias = object->start - headers->phdr[i].p_vaddr;
                break;
            }
    return true;
}

/* The readable segment that holds `address`, as far as the file fills it. */
static const ElfW(Phdr) * headers_segment(const struct headers *headers, uintptr_t address)
{
    for (size_t i = 0; i < headers->count; i++) {
        const ElfW(Phdr) *ph = &headers->phdr[i];
        uintptr_t lo = headers->bias + ph->p_vaddr;

        if (ph->p_type == PT_LOAD && (ph->p_flags & PF_R) && address >= lo &&
            address - lo < ph->p_filesz)
            return ph;
    }
    return NULL;
}

static void headers_code(const struct headers *headers, uintptr_t hdr, struct unwind_code *code)
{
    const ElfW(Phdr) *segment = hdr ? headers_segment(headers, hdr) : NULL;
    size_t ranges = 0;

    memset(code, 0, sizeof(*code));
    if (segment) {
        code->tables.hdr = hdr;
        code->tables.lo = headers->bias + segment->p_vaddr;
        code->tables.hi = code->tables.lo + segment->p_filesz;
    }
    for (size_t i = 0; i < headers->count && ranges < UNWIND_CODE_RANGES; i++) {
        const ElfW(Phdr) *ph = &headers->phdr[i];

        if (ph->p_type != PT_LOAD || (ph->p_flags & (PF_R | PF_X)) != (PF_R | PF_X))
            continue;
        code->range[ranges].lo = headers->bias + ph->p_vaddr;
        code->range[ranges].hi = code->range[ranges].lo + ph->p_filesz;
        ranges++;
    }
}

/* The build-id inside the module's own notes; NULL: none. */
static const uint8_t *headers_build_id(const struct headers *headers, unsigned *length)
{
    for (size_t i = 0; i < headers->count; i++) {
        const ElfW(Phdr) *ph = &headers->phdr[i];
        uintptr_t at = headers->bias + ph->p_vaddr, end = at + ph->p_filesz;
        const ElfW(Phdr) * segment;

        if (ph->p_type != PT_NOTE || !(segment = headers_segment(headers, at)) ||
            end > headers->bias + segment->p_vaddr + segment->p_filesz)
            continue;
        while (end - at >= sizeof(ElfW(Nhdr))) {
            const ElfW(Nhdr) *note = (const ElfW(Nhdr) *)at;
            uintptr_t name = at + sizeof(*note);
            uintptr_t data = name + ((note->n_namesz + 3u) & ~3u);

            if (note->n_namesz > end - name || data > end || note->n_descsz > end - data)
                break;
            if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == 4 &&
                memcmp((const char *)name, "GNU", 4) == 0) {
                *length = note->n_descsz;
                return (const uint8_t *)data;
            }
            at = data + ((note->n_descsz + 3u) & ~3u);
        }
    }
    *length = 0;
    return NULL;
}

static const char *object_path(const struct object *object)
{
    if (object_is_executable(object))
        return executable.path;
    if (object->start == vdso.start)
        return "[vdso]";
    return object->map && object->map->l_name ? object->map->l_name : "";
}

static uint64_t object_identity(const struct object *object, const struct headers *headers,
                                const struct unwind_code *code)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    const char *path = object_path(object);
    size_t tables = code->tables.hi - code->tables.hdr;
    unsigned length;
    const uint8_t *build_id = headers_build_id(headers, &length);

    hash = identity_add(hash, path, strlen(path));
    hash = identity_add(hash, headers->phdr, headers->count * sizeof(*headers->phdr));
    if (build_id)
        return identity_add(hash, build_id, length);
    if (code->tables.hdr) /* without a build-id: where its functions start */
        hash = identity_add(hash, (const void *)code->tables.hdr, tables < 4096 ? tables : 4096);
    return hash;
}

static bool same_object(const struct object *a, const struct object *b)
{
    return a->start == b->start && a->end == b->end && a->map == b->map && a->hdr == b->hdr;
}

/* The range and tables that headers describe. */
static void object_from_headers(const struct headers *headers, struct object *object)
{
    object->start = UINTPTR_MAX;
    object->end = 0;
    object->hdr = 0;
    for (size_t i = 0; i < headers->count; i++) {
        const ElfW(Phdr) *ph = &headers->phdr[i];
        uintptr_t lo = headers->bias + ph->p_vaddr;

        if (ph->p_type == PT_GNU_EH_FRAME)
            object->hdr = lo;
        if (ph->p_type != PT_LOAD)
            continue;
        if ((lo & ~(uintptr_t)4095) < object->start)
            object->start = lo & ~(uintptr_t)4095;
        if (lo + ph->p_memsz > object->end)
            object->end = lo + ph->p_memsz;
    }
}

/* One entry of the debugger's list, by its headers. Old glibc only: see object_find. */
static bool object_from_map(const struct link_map *map, struct object *object)
{
    struct headers headers;

    *object = (struct object){.start = map->l_addr, .map = map};
    if (object_is_executable(object))
        *object = executable.object;
    else if (map->l_addr == 0 || !headers_read(object, &headers))
        return false;
    else
        object_from_headers(&headers, object);
    return true;
}

/* Before glibc 2.35: while a dlclose runs, or the list is being changed, nothing is known. */
static bool objects_knowable(void)
{
    return find_object_exactly ||
           (__atomic_load_n(&unwind_modules_closing, __ATOMIC_ACQUIRE) == 0 &&
            __atomic_load_n(&_r_debug.r_state, __ATOMIC_ACQUIRE) == RT_CONSISTENT);
}

/* process-global because there is one list: its last entry when a search of it all found nothing.
 * While nothing was closed and nothing follows, another search would find nothing either. */
static _Atomic(const struct link_map *) list_searched;

static bool object_find_in_list(uintptr_t address, struct object *object)
{
    const struct link_map *map, *last = atomic_load_explicit(&list_searched, memory_order_relaxed);

    if (!objects_knowable())
        return false;
    for (map = last && !last->l_next ? NULL : _r_debug.r_map; map; map = map->l_next) {
        if (!objects_knowable())
            return false;
        if (object_from_map(map, object) && address >= object->start && address < object->end)
            return true;
        last = map;
    }
    atomic_store_explicit(&list_searched, last, memory_order_relaxed);
    return false;
}

/* The object that `address` lies in now. */
static __attribute__((noinline)) bool object_find(uintptr_t address, struct object *object)
{
    struct found_object found;

    if (address >= vdso.start && address < vdso.end) {
        *object = vdso;
        return true;
    }
    if (!find_object_exactly)
        return object_find_in_list(address, object);
    if (find_object_exactly((void *)address, &found) != 0)
        return false;
    *object = (struct object){found.start, found.end, found.map, found.hdr};
    if (object_is_executable(object))
        *object = executable.object;
    return true;
}

/* Under the lock, which a handler's siglongjmp left taken: whatever was being written is dropped,
 * to be found again. */
static void modules_repair(void)
{
    uint32_t used = atomic_load_explicit(&modules_used, memory_order_relaxed);

    for (uint32_t i = 0; i < used; i++)
        if (atomic_load_explicit(&modules[i].sequence, memory_order_relaxed) & 1) {
            modules[i].state = MODULE_FREE;
            atomic_store_explicit(&module_starts[i], 0, memory_order_relaxed);
            atomic_fetch_add_explicit(&modules[i].sequence, 1, memory_order_release);
        }
    atomic_fetch_add_explicit(&modules_generation, 1, memory_order_acq_rel);
    __atomic_store_n(&unwind_modules_stale_word, STALE, __ATOMIC_SEQ_CST);
}

/* The lock's word is its holder's stack pointer. A holder further down this very stack than we are
 * has been jumped over and will not come back. */
static bool modules_try_lock(void)
{
    uintptr_t here = (uintptr_t)__builtin_frame_address(0), holder = 0, top;

    if (atomic_compare_exchange_strong_explicit(&modules_lock, &holder, here, memory_order_acquire,
                                                memory_order_relaxed))
        return true;
    top = unwind_stack_top(here);
    if (holder >= here || top == 0 || unwind_stack_top(holder) != top ||
        !atomic_compare_exchange_strong_explicit(&modules_lock, &holder, here, memory_order_acquire,
                                                 memory_order_relaxed))
        return false;
    modules_repair();
    return true;
}

static void modules_unlock(void)
{
    atomic_store_explicit(&modules_lock, 0, memory_order_release);
}

static void module_write_begin(struct module *m)
{
    atomic_fetch_add_explicit(&m->sequence, 1, memory_order_acq_rel);
}

static void module_write_end(struct module *m)
{
    atomic_fetch_add_explicit(&m->sequence, 1, memory_order_release);
}

static void module_set_state(struct module *m, enum module_state state)
{
    module_write_begin(m);
    m->state = (uint8_t)state;
    module_write_end(m);
}

/* Under the lock, and while the module cannot go (see the file's comment). */
static void module_report(struct module *m)
{
    struct headers headers;
    struct unwind_module report;

    if (m->record || !module_sink || m->reports >= REPORTS_MAX ||
        !headers_read(&m->object, &headers))
        return;
    memset(&report, 0, sizeof(report));
    report.start = m->object.start;
    report.end = m->object.end;
    report.bias = m->bias;
    report.path = object_path(&m->object);
    report.build_id = headers_build_id(&headers, &report.build_id_len);
    report.generation_first = m->generation;
    report.generation_last = UINT32_MAX;
    m->reports++;
    module_sink(&report, &m->record);
}

/* Under the lock: the code is gone. Of the report only numbers are left. */
static void module_end(struct module *m)
{
    uint32_t generation = atomic_load_explicit(&modules_generation, memory_order_relaxed);
    struct unwind_module report = {.start = m->object.start,
                                   .end = m->object.end,
                                   .bias = m->bias,
                                   .generation_first = m->generation,
                                   .generation_last = generation};

    module_set_state(m, MODULE_FREE);
    atomic_store_explicit(&module_starts[m - modules], 0, memory_order_relaxed);
    atomic_store_explicit(&modules_generation, generation + 1, memory_order_release);
    unwind_layouts_drop();
    if (m->record && module_sink)
        module_sink(&report, &m->record);
    m->record = 0;
}

/* Under the lock: drops what is no longer there; with `doubt`, looks at the rest before their next
 * use. */
static void modules_revalidate(bool doubt)
{
    uint32_t used = atomic_load_explicit(&modules_used, memory_order_relaxed);
    struct object now;

    for (uint32_t i = 0; i < used; i++) {
        struct module *m = &modules[i];

        if (m->state == MODULE_FREE || m->object.start == vdso.start)
            continue;
        if (!object_find(m->object.start, &now) || !same_object(&now, &m->object))
            module_end(m);
        else if (doubt)
            module_set_state(m, MODULE_UNSURE);
    }
}

/* Whether libc may unload it by itself, past any wrapper (iconv's do). */
static bool path_is_fleeting(const char *path)
{
    return strstr(path, "/gconv/") != NULL || strstr(path, "/libnss_") != NULL;
}

/* Under the lock: a slot for a module that has none. NULL: the table is full. */
static struct module *module_add(const struct object *object, const struct headers *headers,
                                 const struct unwind_code *code)
{
    uint32_t used = atomic_load_explicit(&modules_used, memory_order_relaxed), i;
    struct module *m;

    for (i = 0; i < used && modules[i].state != MODULE_FREE; i++) {
    }
    if (i == MODULES_MAX)
        return NULL;
    m = &modules[i];
    module_write_begin(m);
    m->object = *object;
    m->bias = headers->bias;
    m->code = *code;
    m->fleeting = path_is_fleeting(object_path(object));
    m->identity = object_identity(object, headers, code);
    m->generation = atomic_load_explicit(&modules_generation, memory_order_relaxed);
    m->record = 0;
    m->reports = 0;
    m->state = MODULE_LIVE;
    module_write_end(m);
    atomic_store_explicit(&module_starts[i], object->start, memory_order_release);
    if (i == used)
        atomic_store_explicit(&modules_used, used + 1, memory_order_release);
    module_report(m);
    return m;
}

static struct module *module_at(const struct object *object)
{
    uint32_t used = atomic_load_explicit(&modules_used, memory_order_acquire);

    for (uint32_t i = 0; i < used; i++)
        if (atomic_load_explicit(&module_starts[i], memory_order_acquire) == object->start)
            return &modules[i];
    return NULL;
}

/* Under the lock: makes sure that the slot at object's start is that object's, and reported. */
static __attribute__((noinline)) struct module *module_make_sure(const struct object *object)
{
    struct module *m = module_at(object);
    struct headers headers;
    struct unwind_code code;

    if (!m || !same_object(&m->object, object))
        modules_revalidate(false); /* what lay there before is gone, if anything did */
    if (!headers_read(object, &headers))
        return NULL;
    headers_code(&headers, object->hdr, &code);
    m = module_at(object);
    if (m && m->state == MODULE_UNSURE) {
        if (m->identity == object_identity(object, &headers, &code))
            module_set_state(m, MODULE_LIVE);
        else
            module_end(m);
    }
    if (!m || m->state == MODULE_FREE)
        m = module_add(object, &headers, &code);
    else
        module_report(m);
    return m;
}

/* Whether the slot says that it is `object`'s, in this state. */
static bool module_is(struct module *m, const struct object *object, enum module_state state)
{
    uint32_t sequence = atomic_load_explicit(&m->sequence, memory_order_acquire);
    bool is = m->state == state && same_object(&m->object, object);

    atomic_thread_fence(memory_order_acquire);
    return is && !(sequence & 1) &&
           atomic_load_explicit(&m->sequence, memory_order_relaxed) == sequence;
}

static bool module_needs_report(const struct module *m)
{
    return m->record == 0 && module_sink && m->reports < REPORTS_MAX;
}

/* A slot that is certain stays so while `address` is on the stack: see the file's comment. */
const struct unwind_code *unwind_modules_find(uintptr_t address, bool *keep)
{
    struct object object;
    struct module *m;
    bool certain;

    *keep = false;
    if (!object_find(address, &object))
        return NULL;
    m = module_at(&object);
    certain = m && module_is(m, &object, MODULE_LIVE);
    if ((!certain || module_needs_report(m)) && modules_try_lock()) {
        m = module_make_sure(&object);
        modules_unlock();
        certain = m != NULL;
    }
    if (!certain)
        return NULL;
    /* Unreported: come back here each time until the sink has taken it. */
    *keep = !m->fleeting && !module_needs_report(m);
    return &m->code;
}

bool unwind_modules_read(uintptr_t address, struct unwind_code *code)
{
    struct object object;
    struct headers headers;

    if (!object_find(address, &object) || !headers_read(&object, &headers))
        return false;
    headers_code(&headers, object.hdr, code);
    return true;
}

static __attribute__((noinline)) bool modules_settle(void)
{
    uint32_t settling = SETTLING;

    if (!objects_knowable() || !modules_try_lock())
        return false;
    __atomic_store_n(&unwind_modules_stale_word, SETTLING, __ATOMIC_SEQ_CST);
    unwind_layouts_drop();
    atomic_store_explicit(&list_searched, NULL, memory_order_relaxed);
    modules_revalidate(true);
    (void)__atomic_compare_exchange_n(&unwind_modules_stale_word, &settling, SETTLED, false,
                                      __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    modules_unlock();
    return settling == SETTLING;
}

bool unwind_modules_settle(void)
{
    bool closing = __atomic_load_n(&unwind_modules_closing, __ATOMIC_ACQUIRE) != 0; /* first */

    if (__atomic_load_n(&unwind_modules_stale_word, __ATOMIC_ACQUIRE) != SETTLED &&
        !modules_settle())
        return false;
    return !closing;
}

uint32_t unwind_modules_generation(void)
{
    return atomic_load_explicit(&modules_generation, memory_order_acquire);
}

uint32_t unwind_newest_generation(const uint64_t *frames, unsigned count)
{
    uint32_t newest = 1;

    for (unsigned i = 0; i < count; i++) {
        struct object object;
        struct module *m;

        if (!object_find((uintptr_t)(frames[i] & ~LEDGER_FRAME_EXACT), &object))
            continue; /* of no module, now as then */
        m = module_at(&object);
        if (!m || !module_is(m, &object, MODULE_LIVE))
            return unwind_modules_generation(); /* not sure yet which it is */
        if (m->generation > newest)
            newest = m->generation;
    }
    return newest;
}

void unwind_set_module_sink(unwind_module_sink sink)
{
    uint32_t used = atomic_load_explicit(&modules_used, memory_order_acquire);

    module_sink = sink;
    if (!modules_try_lock())
        return;
    for (uint32_t i = 0; i < used; i++)
        if (modules[i].state == MODULE_LIVE)
            module_report(&modules[i]);
    modules_unlock();
}

void unwind_report_modules_again(void)
{
    atomic_store(&modules_lock, 0); /* whoever had it is not in this process */
    unwind_memo_forget_parent();
    for (uint32_t i = 0; i < atomic_load(&modules_used); i++) {
        modules[i].record = 0;
        modules[i].reports = 0;
    }
    unwind_set_module_sink(module_sink);
}

static void executable_find(void)
{
    const struct link_map *map = _r_debug.r_map; /* the list begins with it */
    struct headers headers;
    long length = raw_syscall4(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", executable.path,
                               sizeof(executable.path) - 1);

    executable.phdr = (const ElfW(Phdr) *)getauxval(AT_PHDR);
    executable.count = getauxval(AT_PHNUM);
    if (map && executable.phdr) {
        headers = (struct headers){executable.phdr, executable.count, map->l_addr};
        object_from_headers(&headers, &executable.object);
        executable.object.map = map;
    }
    if (raw_failed(length)) { /* no /proc */
        const char *name = (const char *)getauxval(AT_EXECFN);

        length = 0;
        while (name && name[length] && length < (long)sizeof(executable.path) - 1) {
            executable.path[length] = name[length];
            length++;
        }
    }
    executable.path[length] = '\0';
}

/* process-global because a process is started once: where the loader's entry code lies */
static uintptr_t loader_entry;

#define LOADER_ENTRY_SIZE 128 /* _start and _dl_start_user, which calls the first constructors */

bool unwind_modules_is_entry(uintptr_t pc)
{
    return loader_entry != 0 && pc > loader_entry && pc - loader_entry < LOADER_ENTRY_SIZE;
}

static void loader_find(void)
{
    uintptr_t base = getauxval(AT_BASE);

    if (base != 0)
        loader_entry = base + ((const ElfW(Ehdr) *)base)->e_entry;
}

static void vdso_find(void)
{
    struct headers headers;

    vdso.start = getauxval(AT_SYSINFO_EHDR);
    if (vdso.start == 0)
        return;
    vdso.end = vdso.start + 1;
    if (!headers_read(&vdso, &headers)) {
        vdso.start = vdso.end = 0;
        return;
    }
    for (size_t i = 0; i < headers.count; i++) {
        uintptr_t lo = headers.bias + headers.phdr[i].p_vaddr;

        if (headers.phdr[i].p_type == PT_LOAD && lo + headers.phdr[i].p_memsz > vdso.end)
            vdso.end = (lo + headers.phdr[i].p_memsz + 4095) & ~(uintptr_t)4095;
        if (headers.phdr[i].p_type == PT_GNU_EH_FRAME)
            vdso.hdr = lo;
    }
}

static int module_of_start(struct dl_phdr_info *info, size_t size, void *unused)
{
    bool keep;

    (void)size;
    (void)unused;
    for (size_t i = 0; i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_LOAD && (info->dlpi_phdr[i].p_flags & PF_X)) {
            (void)unwind_modules_find(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr, &keep);
            break;
        }
    return 0;
}

typedef int iterate_modules(int (*)(struct dl_phdr_info *, size_t, void *), void *);

void unwind_modules_init(void)
{
    executable_find();
    loader_find();
    vdso_find();
    /* The loader's own: a sanitizer's runtime in the program has one, too, and is not started. */
    iterate_modules *iterate = (iterate_modules *)dlsym(RTLD_NEXT, "dl_iterate_phdr");
    if (iterate) {
        (void)iterate(module_of_start, NULL);
    }
}
