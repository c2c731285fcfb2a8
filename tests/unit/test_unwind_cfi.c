/*
 * test_unwind_cfi.c: layouts out of CFI made by hand, and that no CFI, however broken, is read
 * past its end: the tables lie right below a page that cannot be touched.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "preload/unwind_cfi.h"

#define TABLES_SIZE 4096
#define CODE 0x100000 /* the function lies that far above the tables */
#define CODE_SIZE 0x100

#if defined(__x86_64__)
#define SP 7
#define BP 6
#define RA 16
#else
#define SP 31
#define BP 29
#define RA 30
#endif

/* process-global because cmocka's set-up hands it to every test */
static uint8_t *page;

/* One .eh_frame_hdr with one FDE, built at the end of `page`. */
struct built {
    uint8_t bytes[256];
    size_t size;
    size_t cie, fde;
};

static void put(struct built *b, const void *data, size_t size)
{
    assert_true(b->size + size <= sizeof(b->bytes));
    memcpy(b->bytes + b->size, data, size);
    b->size += size;
}

static void put8(struct built *b, uint8_t value)
{
    put(b, &value, 1);
}

static void put32(struct built *b, uint32_t value)
{
    put(b, &value, 4);
}

static void set32(struct built *b, size_t at, uint32_t value)
{
    memcpy(b->bytes + at, &value, 4);
}

static void close_entry(struct built *b, size_t entry)
{
    while (b->size % 4)
        put8(b, 0);
    set32(b, entry, (uint32_t)(b->size - entry - 4));
}

/* The usual CIE (CFA = sp + 8, return address at CFA - 8) and an FDE with this program. */
static struct built build(const char *augmentation, const uint8_t *program, size_t size)
{
    struct built b = {.size = 0};

    put32(&b, 0x3b031b01);
    put32(&b, 0); /* .eh_frame: nobody needs it */
    put32(&b, 1);
    put32(&b, CODE);
    put32(&b, 0); /* the FDE's place, below */
    b.cie = b.size;
    put32(&b, 0);
    put32(&b, 0);
    put8(&b, 1);
    put(&b, augmentation, strlen(augmentation) + 1);
    put8(&b, 1);    /* code alignment */
    put8(&b, 0x78); /* data alignment: -8 */
    put8(&b, RA);
    put8(&b, 1); /* augmentation: the pointers' encoding */
    put8(&b, 0x1b);
    put(&b, (uint8_t[]){0x0c, SP, 8, 0x80 | RA, 1}, 5);
    close_entry(&b, b.cie);
    b.fde = b.size;
    put32(&b, 0);
    put32(&b, (uint32_t)(b.size - b.cie));
    put32(&b, (uint32_t)(CODE - b.size));
    put32(&b, CODE_SIZE);
    put8(&b, 0);
    put(&b, program, size);
    close_entry(&b, b.fde);
    set32(&b, 16, (uint32_t)b.fde);
    return b;
}

static struct unwind_layout ask_built(const struct built *b, uintptr_t offset)
{
    uintptr_t hi = (uintptr_t)page + TABLES_SIZE, lo = hi - b->size;
    struct unwind_tables tables = {lo, lo, hi};

    memcpy((void *)lo, b->bytes, b->size);
    return unwind_cfi_layout(&tables, lo + CODE + offset, lo + CODE + offset);
}

static struct unwind_layout ask(uintptr_t offset, const uint8_t *program, size_t size)
{
    struct built b = build("zR", program, size);

    return ask_built(&b, offset);
}
#define ASK(offset, ...) ask(offset, (uint8_t[]){__VA_ARGS__}, sizeof((uint8_t[]){__VA_ARGS__}))

static void rows_hold_from_their_address_on(void **state)
{
    (void)state;
    for (uintptr_t at = 0; at < CODE_SIZE; at++) {
        /* at 1: push bp; at 4: mov sp, bp; at 0x80: pop bp */
        struct unwind_layout l = ASK(at, 0x41, 0x0e, 16, 0x80 | BP, 2, 0x43, 0x0d, BP, 0x02, 0x7c,
                                     0x0c, SP, 8, 0xc0 | BP);
        bool saved = at >= 1 && at < 0x80;

        assert_int_equal(l.form, at >= 4 && at < 0x80 ? UNWIND_CFA_BP : UNWIND_CFA_SP);
        assert_int_equal(l.cfa, saved ? 16 : 8);
        assert_int_equal(l.bp_saved, saved ? UNWIND_AT_CFA : UNWIND_SAME);
        assert_int_equal(l.bp, saved ? -16 : 0);
        assert_int_equal(l.ra, -8);
    }
}

static void addresses_outside_have_no_layout(void **state)
{
    (void)state;
    assert_int_equal(ASK(CODE_SIZE, 0).form, UNWIND_NONE);
    assert_int_equal(ASK((uintptr_t)-1, 0).form, UNWIND_NONE);
    assert_int_equal(ASK(CODE_SIZE - 1, 0).form, UNWIND_CFA_SP);
}

static void remembered_rows_come_back(void **state)
{
    static const uint8_t program[] = {0x0e, 32, 0x0a, 0x41, 0x0e, 8, 0x41, 0x0b};

    (void)state;
    assert_int_equal(ask(0, program, sizeof(program)).cfa, 32);
    assert_int_equal(ask(1, program, sizeof(program)).cfa, 8);
    assert_int_equal(ask(2, program, sizeof(program)).cfa, 32);
    assert_int_equal(ASK(5, 0x0a, 0x0a, 0x0e, 48, 0x0b, 0x0b).cfa, 8);
    assert_int_equal(ASK(5, 0x0a, 0x0a, 0x0a, 0x0a).form, UNWIND_OPAQUE); /* deeper than ours */
    assert_int_equal(ASK(5, 0x0b).form, UNWIND_NONE);                     /* none remembered */
}

static void an_undefined_return_address_is_the_end(void **state)
{
    (void)state;
    assert_int_equal(ASK(3, 0x07, RA).form, UNWIND_END);
}

static void what_the_stepper_cannot_follow_is_opaque(void **state)
{
    (void)state;
    assert_int_equal(ASK(3, 0x0d, 3).form, UNWIND_OPAQUE);             /* another register */
    assert_int_equal(ASK(3, 0x0f, 2, 0x73, 16).form, UNWIND_OPAQUE);   /* by an expression */
    assert_int_equal(ASK(3, 0x09, RA, 3).form, UNWIND_OPAQUE);         /* in a register */
    assert_int_equal(ASK(3, 0x14, SP, 3).form, UNWIND_OPAQUE);         /* sp is not the CFA */
    assert_int_equal(ASK(3, 0x3f).form, UNWIND_OPAQUE);                /* not an instruction */
    assert_int_equal(ASK(3, 0x0f, 2, 0x30, 0x06).form, UNWIND_OPAQUE); /* memory at a constant */
    assert_int_equal(ASK(3, 0x0f, 1, 0x22).form, UNWIND_OPAQUE);       /* adds nothing to nothing */
    assert_int_equal(ASK(3, 0x09, BP, 3).bp_saved, UNWIND_LOST);
#if defined(__x86_64__)
    assert_int_equal(ASK(3, 0x80 | RA, 2).form, UNWIND_OPAQUE); /* not where a call leaves it */
#endif
}

static void signal_frames_are_not_for_rows(void **state)
{
    struct built b = build("zR", (uint8_t[]){0}, 1);

    (void)state;
    memcpy(b.bytes + b.cie + 9, "zS", 2); /* the one byte of augmentation stays unread */
    assert_int_equal(ask_built(&b, 3).form, UNWIND_NONE); /* absolute pointers: elsewhere */
    b = build("zRS", (uint8_t[]){0}, 1);
    assert_int_equal(ask_built(&b, 3).form, UNWIND_OPAQUE);
}

#if defined(__x86_64__)
static void expressions_are_evaluated_as_far_as_they_go(void **state)
{
    /* DRAP: CFA = *(rbp - 8), rbp at rbp + 0 */
    struct unwind_layout l = ASK(3, 0x0f, 3, 0x76, 0x78, 0x06, 0x10, BP, 2, 0x76, 0);

    (void)state;
    assert_int_equal(l.form, UNWIND_CFA_AT_BP);
    assert_int_equal(l.cfa, -8);
    assert_int_equal(l.more, 0);
    assert_int_equal(l.bp_saved, UNWIND_AT_BP);
    assert_int_equal(l.bp, 0);
    /* openssl: CFA = *(rsp + 152) + 8 */
    l = ASK(3, 0x0f, 6, 0x77, 0x98, 0x01, 0x06, 0x23, 8);
    assert_int_equal(l.form, UNWIND_CFA_AT_SP);
    assert_int_equal(l.cfa, 152);
    assert_int_equal(l.more, 1);
    /* PLT stubs: rsp + 8, and 8 more from their eleventh byte on */
    for (uintptr_t at = 0; at < 64; at++) {
        struct unwind_tables tables;
        struct built b = build(
            "zR", (uint8_t[]){0x0f, 11, 0x77, 8, 0x80, 0, 0x3f, 0x1a, 0x3b, 0x2a, 0x33, 0x24, 0x22},
            13);
        uintptr_t lo = (uintptr_t)page + TABLES_SIZE - b.size;

        memcpy((void *)lo, b.bytes, b.size);
        tables = (struct unwind_tables){lo, lo, lo + b.size};
        l = unwind_cfi_layout(&tables, lo + CODE + at, at);
        assert_int_equal(l.form, UNWIND_CFA_SP);
        assert_int_equal(l.cfa, at % 16 >= 11 ? 16 : 8);
    }
}
#endif

static void half_a_change_of_an_expression_is_malformed(void **state)
{
    (void)state;
    assert_int_equal(ASK(3, 0x0f, 3, 0x76, 0x78, 0x06, 0x0e, 16).form, UNWIND_NONE);
    assert_int_equal(ASK(3, 0x0f, 3, 0x76, 0x78, 0x06, 0x0d, SP).form, UNWIND_NONE);
    assert_int_equal(ASK(3, 0x0f, 3, 0x76, 0x78, 0x06, 0x0c, SP, 16).form, UNWIND_CFA_SP);
}

/* Every truncation, and many random changes, of a table that uses everything. */
static void broken_tables_are_never_read_past_their_end(void **state)
{
    static const uint8_t program[] = {0x41, 0x0e, 16,   0x80 | BP, 2,    0x0a, 0x43, 0x0d,
                                      BP,   0x02, 0x10, 0x10,      BP,   2,    0x76, 0,
                                      0x0f, 6,    0x77, 0x98,      1,    0x06, 0x23, 8,
                                      0x42, 0x16, 3,    1,         0x30, 0x2e, 0x81, 0x01};
    const struct built whole = build("zR", program, sizeof(program));

    (void)state;
    srandom(7);
    for (size_t size = 0; size < whole.size; size++) {
        struct built b = whole;

        b.size = size;
        (void)ask_built(&b, 0x50);
    }
    for (unsigned round = 0; round < 300000; round++) {
        struct built b = whole;
        unsigned changes = 1 + (unsigned)random() % 4;

        while (changes--)
            b.bytes[(size_t)random() % b.size] = (uint8_t)random();
        (void)ask_built(&b, (uintptr_t)random() % CODE_SIZE);
    }
}

static int map_page(void **state)
{
    (void)state;
    page = mmap(NULL, 2 * TABLES_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return page == MAP_FAILED || mprotect(page + TABLES_SIZE, TABLES_SIZE, PROT_NONE) != 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_hold_from_their_address_on),
        cmocka_unit_test(addresses_outside_have_no_layout),
        cmocka_unit_test(remembered_rows_come_back),
        cmocka_unit_test(an_undefined_return_address_is_the_end),
        cmocka_unit_test(what_the_stepper_cannot_follow_is_opaque),
        cmocka_unit_test(signal_frames_are_not_for_rows),
#if defined(__x86_64__)
        cmocka_unit_test(expressions_are_evaluated_as_far_as_they_go),
#endif
        cmocka_unit_test(half_a_change_of_an_expression_is_malformed),
        cmocka_unit_test(broken_tables_are_never_read_past_their_end),
    };

    return cmocka_run_group_tests(tests, map_page, NULL);
}
