/*
 * vm_memory.c: mappings with a count of who needs them, what was written to them, and a pool. See
 * vm_memory.h.
 */
#include "supervisor/vm_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "supervisor/error.h"
#include "supervisor/guest_layout.h"

/* A word of /proc/PID/pagemap, Documentation/admin-guide/mm/pagemap.rst: the page is there, it is
 * swapped out, it is the file's own page. */
#define PAGEMAP_PRESENT (UINT64_C(1) << 63)
#define PAGEMAP_SWAPPED (UINT64_C(1) << 62)
#define PAGEMAP_OF_FILE (UINT64_C(1) << 61)
#define PAGEMAP_CHUNK 512 /* words read at a time */

#define FIRST_PAGES 16

/* A mapping with an object that owns it, or NULL. Of `bytes`, `margin` at each end are not the
 * guest's. */
static struct vm_memory *map(size_t bytes, size_t margin, int protection, int fd,
                             struct error *error)
{
    struct vm_memory *made = calloc(1, sizeof(*made));
    int flags = MAP_PRIVATE | (fd < 0 ? MAP_ANONYMOUS : 0);

    if (made == NULL) {
        error_set(error, ENOMEM, "cannot map memory");
        return NULL;
    }
    if (owned_map_make(&made->map, bytes, protection, flags, fd, 0) != 0) {
        error_set(error, errno, "mmap of %zu bytes", bytes);
        free(made);
        return NULL;
    }
    made->start = (uint8_t *)made->map.start + margin;
    made->bytes = bytes - 2 * margin;
    made->references = 1;
    made->is_file = fd >= 0;
    return made;
}

int vm_memory_map_file(struct vm_memory **memory, int fd, size_t bytes, bool is_writable,
                       struct error *error)
{
    *memory = map(bytes, 0, PROT_READ | (is_writable ? PROT_WRITE : 0), fd, error);
    return *memory != NULL ? 0 : -1;
}

int vm_memory_map_zeros(struct vm_memory **memory, size_t bytes, bool apart, struct error *error)
{
    size_t margin = apart ? GUEST_PAGE : 0;
    struct vm_memory *made =
        map(bytes + 2 * margin, margin, apart ? PROT_NONE : PROT_READ | PROT_WRITE, -1, error);

    if (made == NULL)
        return -1;
    if (apart && mprotect(made->start, bytes, PROT_READ | PROT_WRITE) != 0) {
        error_set(error, errno, "mprotect of %zu bytes", bytes);
        vm_memory_release(made, NULL);
        return -1;
    }
    *memory = made;
    return 0;
}

struct vm_memory *vm_memory_share(struct vm_memory *memory)
{
    memory->references++;
    return memory;
}

int vm_memory_release(struct vm_memory *memory, struct error *error)
{
    int result = 0;

    if (memory == NULL || --memory->references > 0)
        return 0;

    size_t bytes = memory->map.bytes;
    int refused = owned_map_unmap(&memory->map);

    if (refused != 0) {
        result = error_set(error, refused, "munmap of %zu bytes", bytes);
        owned_map_drop(&memory->map);
    }
    free(memory);
    return result;
}

void vm_memory_forget(struct vm_memory *memory)
{
    memory->map = MAPPING_EMPTY;
}

/* --- what was written ------------------------------------------------------------------------ */

/* To or from this process's own memory, as if it were another's: where the page is gone, because
 * its file became shorter, that is an error and no signal. */
static int copy_page(const struct vm_memory *memory, size_t number, uint8_t *content, bool is_save,
                     struct error *error)
{
    struct iovec mine = {content, GUEST_PAGE};
    struct iovec mapped = {memory->start + number * GUEST_PAGE, GUEST_PAGE};
    ssize_t bytes = is_save ? process_vm_readv(getpid(), &mine, 1, &mapped, 1, 0)
                            : process_vm_writev(getpid(), &mine, 1, &mapped, 1, 0);

    if (bytes == (ssize_t)GUEST_PAGE)
        return 0;
    return error_set(error, bytes < 0 ? errno : EFAULT, "a page of the guest cannot be %s",
                     is_save ? "saved" : "restored");
}

static int add_page(struct vm_pages *pages, const struct vm_memory *memory, size_t number,
                    struct error *error)
{
    if (pages->count == pages->room) {
        size_t room = pages->room != 0 ? pages->room * 2 : FIRST_PAGES;
        size_t *numbers = realloc(pages->numbers, room * sizeof(*numbers));

        if (numbers != NULL)
            pages->numbers = numbers;

        uint8_t *contents = realloc(pages->contents, room * GUEST_PAGE);

        if (contents != NULL)
            pages->contents = contents;
        if (numbers == NULL || contents == NULL)
            return error_set(error, ENOMEM, "no memory for %zu pages of a snapshot", room);
        pages->room = room;
    }
    pages->numbers[pages->count] = number;
    if (copy_page(memory, number, pages->contents + pages->count * GUEST_PAGE, true, error) != 0)
        return -1;
    pages->count++;
    return 0;
}

int vm_pages_save(struct vm_pages *pages, const struct vm_memory *memory, struct error *error)
{
    static const char path[] = "/proc/self/pagemap";
    owned_fd int map_fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t first = (uintptr_t)memory->start / GUEST_PAGE;
    size_t total = memory->bytes / GUEST_PAGE;
    uint64_t words[PAGEMAP_CHUNK];

    if (map_fd < 0)
        return error_set(error, errno, "%s", path);
    for (size_t from = 0; from < total; from += PAGEMAP_CHUNK) {
        size_t count = total - from < PAGEMAP_CHUNK ? total - from : PAGEMAP_CHUNK;
        size_t bytes = count * sizeof(words[0]);

        if (pread(map_fd, words, bytes, (off_t)((first + from) * sizeof(words[0]))) !=
            (ssize_t)bytes)
            return error_set(error, EIO, "%s: cannot be read", path);
        for (size_t i = 0; i < count; i++)
            if ((words[i] & (PAGEMAP_PRESENT | PAGEMAP_SWAPPED)) && !(words[i] & PAGEMAP_OF_FILE) &&
                add_page(pages, memory, from + i, error) != 0)
                return -1;
    }
    return 0;
}

int vm_pages_restore(const struct vm_pages *pages, const struct vm_memory *memory,
                     struct error *error)
{
    /* Of a private mapping this drops what was written, and the next access is to what is mapped.
     */
    if (madvise(memory->start, memory->bytes, MADV_DONTNEED) != 0)
        return error_set(error, errno, "madvise of %zu bytes", memory->bytes);
    for (size_t i = 0; i < pages->count; i++)
        if (copy_page(memory, pages->numbers[i], pages->contents + i * GUEST_PAGE, false, error) !=
            0)
            return -1;
    return 0;
}

void vm_pages_clear(struct vm_pages *pages)
{
    free(pages->numbers);
    free(pages->contents);
    *pages = (struct vm_pages){0};
}

/* --- the pool -------------------------------------------------------------------------------- */

void vm_pool_init(struct vm_pool *pool, size_t bytes)
{
    *pool = (struct vm_pool){.lock = PTHREAD_MUTEX_INITIALIZER, .bytes = bytes};
}

int vm_pool_take(struct vm_pool *pool, struct vm_memory **memory, struct error *error)
{
    struct vm_memory *kept = NULL;

    pthread_mutex_lock(&pool->lock);
    if (pool->count > 0)
        kept = pool->kept[--pool->count];
    pthread_mutex_unlock(&pool->lock);
    if (kept == NULL)
        return vm_memory_map_zeros(memory, pool->bytes, true, error);
    *memory = kept;
    return 0;
}

int vm_pool_give(struct vm_pool *pool, struct vm_memory *memory, struct error *error)
{
    bool is_kept = false;

    /* Memory that a snapshot still needs, or that cannot be made zero again, is none to keep. */
    if (memory->references == 1 && madvise(memory->start, memory->bytes, MADV_DONTNEED) == 0) {
        pthread_mutex_lock(&pool->lock);
        is_kept = pool->count < VM_POOL_KEEPS;
        if (is_kept)
            pool->kept[pool->count++] = memory;
        pthread_mutex_unlock(&pool->lock);
    }
    return is_kept ? 0 : vm_memory_release(memory, error);
}

int vm_pool_clear(struct vm_pool *pool, struct error *error)
{
    int result = 0;

    while (pool->count > 0)
        if (vm_memory_release(pool->kept[--pool->count], error) != 0)
            result = -1;
    pthread_mutex_destroy(&pool->lock);
    return result;
}
