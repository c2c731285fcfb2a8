/*
 * unwind_cfi.c: reads .eh_frame_hdr and .eh_frame for one address.
 *
 * Follows the LSB Core specification (Exception Frames) and DWARF 5, section 6.4. It reads only
 * the module's own tables and every read is checked against their segment: a malformed table is
 * unknown code, not a fault. It never allocates, locks, calls the system or touches a stack.
 */
#include "unwind_cfi.h"

#include <stddef.h>
#include <string.h>

/* DWARF register numbers, x86-64 psABI figure 3.36 and AADWARF64. */
#if defined(__x86_64__)
#define REG_BP 6
#define REG_SP 7
#define REG_RA 16 /* also the instruction pointer in expressions */
#else
#define REG_BP 29
#define REG_SP 31
#define REG_RA 30
#endif

#define REGISTER_NONE 0xff /* larger than any that either has */

/* Pointer encodings, LSB Core, "DWARF Exception Header Encoding". */
#define PE_OMIT 0xff
#define PE_FORMAT 0x0f
#define PE_BASE 0x70
#define PE_PCREL 0x10
#define PE_DATAREL 0x30
#define PE_HDR_POINTER 0x1b /* pcrel, sdata4 */
#define PE_HDR_COUNT 0x03   /* udata4 */
#define PE_HDR_TABLE 0x3b   /* datarel, sdata4 */

/* A place in the tables. Once `bad`, every read gives 0 and it stays so. */
struct cursor {
    const uint8_t *at;
    const uint8_t *end;
    bool bad;
};

static uint64_t read_bytes(struct cursor *c, unsigned size)
{
    uint64_t value = 0;

    if (c->bad || (size_t)(c->end - c->at) < size) {
        c->bad = true;
        return 0;
    }
    memcpy(&value, c->at, size); /* both targets are little-endian */
    c->at += size;
    return value;
}

static uint8_t read_u8(struct cursor *c)
{
    return (uint8_t)read_bytes(c, 1);
}

static uint32_t read_u32(struct cursor *c)
{
    return (uint32_t)read_bytes(c, 4);
}

static void skip_bytes(struct cursor *c, uint64_t size)
{
    if (c->bad || (uint64_t)(c->end - c->at) < size)
        c->bad = true;
    else
        c->at += size;
}

/* Both LEB128 forms; more than 64 bits are malformed. */
static uint64_t read_leb(struct cursor *c, bool is_signed)
{
    uint64_t value = 0;
    unsigned shift = 0;
    uint8_t byte;

    do {
        byte = read_u8(c);
        if (shift >= 64) {
            c->bad = true;
            return 0;
        }
        value |= (uint64_t)(byte & 0x7f) << shift;
        shift += 7;
    } while (byte & 0x80);
    if (is_signed && (byte & 0x40) && shift < 64)
        value |= ~UINT64_C(0) << shift;
    return value;
}

static uint64_t read_uleb(struct cursor *c)
{
    return read_leb(c, false);
}

static int64_t read_sleb(struct cursor *c)
{
    return (int64_t)read_leb(c, true);
}

/* A number in one of the DW_EH_PE formats, before its base is added. */
static uint64_t read_format(struct cursor *c, uint8_t format)
{
    switch (format) {
    case 0x00: /* absptr */
    case 0x04: /* udata8 */
    case 0x0c: /* sdata8 */
        return read_bytes(c, 8);
    case 0x01:
        return read_uleb(c);
    case 0x02:
        return read_bytes(c, 2);
    case 0x03:
        return read_bytes(c, 4);
    case 0x09:
        return (uint64_t)read_sleb(c);
    case 0x0a:
        return (uint64_t)(int64_t)(int16_t)read_bytes(c, 2);
    case 0x0b:
        return (uint64_t)(int64_t)(int32_t)read_bytes(c, 4);
    default:
        c->bad = true;
        return 0;
    }
}

static uint64_t read_encoded(struct cursor *c, uint8_t encoding)
{
    uint64_t at = (uint64_t)(uintptr_t)c->at;
    uint64_t value = read_format(c, encoding & PE_FORMAT);

    switch (encoding & ~PE_FORMAT) {
    case 0:
        return value;
    case PE_PCREL:
        return value + at;
    default: /* indirect, textrel, aligned: not for what we read */
        c->bad = true;
        return 0;
    }
}

/* Where a register of the caller is, while a CFA program runs. */
enum rule {
    RULE_SAME = 0,
    RULE_UNDEFINED,
    RULE_AT_CFA,     /* saved at CFA + value */
    RULE_EXPRESSION, /* saved at the address that the expression at base + value gives */
    RULE_OTHER,      /* anything else: another register, a value */
    ROW_NONE,        /* as a row's cfa_rule: there is no row for the address */
    ROW_OPAQUE,      /* likewise: there is, but it takes more than a row of ours */
};

/* A row of the table, as far as layouts go. */
struct row {
    uint8_t cfa_rule; /* RULE_AT_CFA: cfa_register + cfa; RULE_EXPRESSION; or RULE_OTHER */
    uint8_t cfa_register;
    uint8_t bp_rule;
    uint8_t ra_rule;
    int32_t cfa;
    int32_t bp;
    int32_t ra;
};
_Static_assert(sizeof(struct row) == 16, "returned in registers: stack is scarce");

/* Rows that DW_CFA_remember_state may stack up. Compilers nest them once; deeper is opaque, since
 * this lies on the program's stack. */
#define ROWS_REMEMBERED 2

struct program {
    struct cursor code;
    const uint8_t *base; /* expressions are remembered as offsets from here */
    uintptr_t address;   /* whose row is wanted */
    uintptr_t location;  /* of the row being built */
    uint32_t code_align;
    int32_t data_align;
    struct row row;
    struct row initial;
    uint8_t depth;
    uint8_t pointer_encoding;
    bool has_size; /* FDEs carry the size of their augmentation */
    bool is_signal_frame;
    bool opaque;                            /* met something that only a full interpreter follows */
    struct row remembered[ROWS_REMEMBERED]; /* the first `depth`; the last member: not cleared */
};

/* Offsets beyond 31 bits belong to no frame. */
static int32_t program_offset(struct program *p, int64_t offset)
{
    if (offset != (int32_t)offset)
        p->opaque = true;
    return (int32_t)offset;
}

static int32_t program_factored(struct program *p, int64_t factored)
{
    int64_t offset;

    if (__builtin_mul_overflow(factored, (int64_t)p->data_align, &offset))
        p->opaque = true;
    return program_offset(p, offset);
}

static void program_set(struct program *p, uint64_t reg, enum rule rule, int32_t value)
{
    if (reg == REG_BP) {
        p->row.bp_rule = rule;
        p->row.bp = value;
    } else if (reg == REG_RA) {
        p->row.ra_rule = rule;
        p->row.ra = value;
    } else if (reg == REG_SP && rule != RULE_SAME) {
        p->opaque = true; /* the caller's sp is not the CFA: not for us */
    }
}

static void program_restore(struct program *p, uint64_t reg)
{
    if (reg == REG_BP)
        program_set(p, reg, p->initial.bp_rule, p->initial.bp);
    else if (reg == REG_RA)
        program_set(p, reg, p->initial.ra_rule, p->initial.ra);
}

static void program_set_cfa(struct program *p, uint64_t reg, int32_t offset)
{
    p->row.cfa_rule = RULE_AT_CFA;
    p->row.cfa_register = reg < REGISTER_NONE ? (uint8_t)reg : REGISTER_NONE;
    p->row.cfa = offset;
}

/* The expression at the cursor (its length first), as an offset from the base; skips it. */
static int32_t program_expression(struct program *p)
{
    int32_t offset = program_offset(p, p->code.at - p->base);
    uint64_t length = read_uleb(&p->code);

    skip_bytes(&p->code, length);
    return offset;
}

/* A new row begins at `location`. If that is past the wanted address, the last row was it. */
static void program_go_to(struct program *p, uintptr_t location)
{
    p->location = location;
    if (location > p->address)
        p->code.at = p->code.end;
}

static void program_advance(struct program *p, uint64_t factored)
{
    program_go_to(p, p->location + factored * p->code_align);
}

static void program_remember(struct program *p)
{
    if (p->depth == ROWS_REMEMBERED) {
        p->opaque = true;
        return;
    }
    p->remembered[p->depth++] = p->row;
}

static void program_recall(struct program *p)
{
    if (p->depth == 0)
        p->code.bad = true;
    else
        p->row = p->remembered[--p->depth];
}

/* The instructions whose operand sits in their low six bits. True if `op` was one. */
static bool program_run_short(struct program *p, uint8_t op)
{
    switch (op & 0xc0) {
    case 0x40: /* DW_CFA_advance_loc */
        program_advance(p, (op & 0x3f));
        return true;
    case 0x80: /* DW_CFA_offset */
        program_set(p, op & 0x3f, RULE_AT_CFA, program_factored(p, (int64_t)read_uleb(&p->code)));
        return true;
    case 0xc0: /* DW_CFA_restore */
        program_restore(p, op & 0x3f);
        return true;
    default:
        return false;
    }
}

/* Instructions that name a register and say where it is saved. True if `op` was one. */
static bool program_run_register(struct program *p, uint8_t op)
{
    uint64_t reg;

    if (!((op >= 0x05 && op <= 0x09) || op == 0x10 || op == 0x11 || (op >= 0x14 && op <= 0x16) ||
          op == 0x2f))
        return false;
    reg = read_uleb(&p->code);
    switch (op) {
    case 0x05: /* DW_CFA_offset_extended */
        program_set(p, reg, RULE_AT_CFA, program_factored(p, (int64_t)read_uleb(&p->code)));
        break;
    case 0x06: /* DW_CFA_restore_extended */
        program_restore(p, reg);
        break;
    case 0x07: /* DW_CFA_undefined */
        program_set(p, reg, RULE_UNDEFINED, 0);
        break;
    case 0x08: /* DW_CFA_same_value */
        program_set(p, reg, RULE_SAME, 0);
        break;
    case 0x11: /* DW_CFA_offset_extended_sf */
        program_set(p, reg, RULE_AT_CFA, program_factored(p, read_sleb(&p->code)));
        break;
    case 0x10: /* DW_CFA_expression */
        program_set(p, reg, RULE_EXPRESSION, program_expression(p));
        break;
    case 0x16: /* DW_CFA_val_expression */
        (void)program_expression(p);
        program_set(p, reg, RULE_OTHER, 0);
        break;
    case 0x2f: /* DW_CFA_GNU_negative_offset_extended */
        program_set(p, reg, RULE_AT_CFA, program_factored(p, -(int64_t)read_uleb(&p->code)));
        break;
    default: /* DW_CFA_register, DW_CFA_val_offset, DW_CFA_val_offset_sf: one operand more */
        (void)read_uleb(&p->code);
        program_set(p, reg, RULE_OTHER, 0);
        break;
    }
    return true;
}

/* Where the CFA is. The instructions that change a half of it hold for register and offset only. */
static void program_run_cfa(struct program *p, uint8_t op)
{
    struct cursor *c = &p->code;
    uint64_t reg;

    if ((op == 0x0d || op == 0x0e || op == 0x13) && p->row.cfa_rule != RULE_AT_CFA) {
        c->bad = true;
        return;
    }
    switch (op) {
    case 0x0c: /* DW_CFA_def_cfa */
        reg = read_uleb(c);
        program_set_cfa(p, reg, program_offset(p, (int64_t)read_uleb(c)));
        break;
    case 0x12: /* DW_CFA_def_cfa_sf */
        reg = read_uleb(c);
        program_set_cfa(p, reg, program_factored(p, read_sleb(c)));
        break;
    case 0x0d: /* DW_CFA_def_cfa_register */
        program_set_cfa(p, read_uleb(c), p->row.cfa);
        break;
    case 0x0e: /* DW_CFA_def_cfa_offset */
        p->row.cfa = program_offset(p, (int64_t)read_uleb(c));
        break;
    case 0x13: /* DW_CFA_def_cfa_offset_sf */
        p->row.cfa = program_factored(p, read_sleb(c));
        break;
    case 0x0f: /* DW_CFA_def_cfa_expression */
        p->row.cfa_rule = RULE_EXPRESSION;
        p->row.cfa = program_expression(p);
        break;
    default: /* new since this was written: what follows cannot be told apart */
        p->opaque = true;
        break;
    }
}

static void program_run_one(struct program *p)
{
    uint8_t op = read_u8(&p->code);

    if (program_run_short(p, op) || program_run_register(p, op))
        return;
    switch (op) {
    case 0x00: /* DW_CFA_nop */
        break;
    case 0x01: /* DW_CFA_set_loc */
        program_go_to(p, read_encoded(&p->code, p->pointer_encoding));
        break;
    case 0x02: /* DW_CFA_advance_loc1, 2, 4 */
        program_advance(p, read_u8(&p->code));
        break;
    case 0x03:
        program_advance(p, read_bytes(&p->code, 2));
        break;
    case 0x04:
        program_advance(p, read_bytes(&p->code, 4));
        break;
    case 0x0a:
        program_remember(p);
        break;
    case 0x0b:
        program_recall(p);
        break;
    case 0x2d: /* DW_CFA_AARCH64_negate_ra_state: return addresses are stripped in any case */
#if defined(__x86_64__)
        p->opaque = true;
#endif
        break;
    case 0x2e: /* DW_CFA_GNU_args_size: matters to exceptions only */
        (void)read_uleb(&p->code);
        break;
    default:
        program_run_cfa(p, op);
        break;
    }
}

/* Runs to the end, or until the row after the wanted one would begin. */
static __attribute__((noinline)) void program_run(struct program *p)
{
    while (!p->code.bad && !p->opaque && p->code.at < p->code.end)
        program_run_one(p);
}

/* A DWARF expression's value, as far as it can be known without the registers' values. */
enum term_kind {
    TERM_CONSTANT,
    TERM_REGISTER, /* reg + value */
    TERM_AT,       /* *(reg + value) + more */
};

struct term {
    int64_t value;
    int32_t more;
    uint8_t kind;
    uint8_t reg;
};

#define TERMS_MAX 5   /* the deepest in use (PLT stubs) needs 3 */
#define TERM_CFA 0xff /* as a register: the CFA, which DW_CFA_expression starts with */

struct terms {
    struct term at[TERMS_MAX];
    unsigned count;
};

static bool terms_push(struct terms *t, enum term_kind kind, uint8_t reg, int64_t value)
{
    if (t->count == TERMS_MAX)
        return false;
    t->at[t->count++] = (struct term){.value = value, .kind = (uint8_t)kind, .reg = reg};
    return true;
}

static bool term_add(struct term *term, int64_t value)
{
    if (term->kind != TERM_AT)
        return !__builtin_add_overflow(term->value, value, &term->value);
    return value == (int32_t)value &&
           !__builtin_add_overflow(term->more, (int32_t)value, &term->more);
}

static bool terms_plus(struct terms *t)
{
    struct term *a, *b;

    if (t->count < 2)
        return false;
    a = &t->at[t->count - 2];
    b = &t->at[t->count - 1];
    if (b->kind != TERM_CONSTANT) { /* one of the two has to be known */
        struct term swap = *a;
        *a = *b;
        *b = swap;
    }
    t->count--;
    return b->kind == TERM_CONSTANT && term_add(a, b->value);
}

static bool terms_deref(struct terms *t)
{
    struct term *top;

    if (t->count == 0)
        return false;
    top = &t->at[t->count - 1];
    if (top->kind != TERM_REGISTER)
        return false;
    top->kind = TERM_AT;
    return true;
}

/* Operators on two constants; the others need values that only a run has. */
static bool terms_binary(struct terms *t, uint8_t op)
{
    int64_t a, b, result;

    if (t->count < 2 || t->at[t->count - 1].kind != TERM_CONSTANT)
        return false;
    b = t->at[t->count - 1].value;
    if (op == 0x1c) { /* DW_OP_minus */
        t->count--;
        return b != INT64_MIN && term_add(&t->at[t->count - 1], -b);
    }
    if (t->at[t->count - 2].kind != TERM_CONSTANT)
        return false;
    a = t->at[t->count - 2].value;
    switch (op) {
    case 0x1a: /* DW_OP_and */
        result = a & b;
        break;
    case 0x21: /* DW_OP_or */
        result = a | b;
        break;
    case 0x24: /* DW_OP_shl */
        result = b >= 0 && b < 64 ? (int64_t)((uint64_t)a << b) : 0;
        break;
    case 0x29: /* DW_OP_eq, ge, gt, le, lt, ne */
        result = a == b;
        break;
    case 0x2a:
        result = a >= b;
        break;
    case 0x2b:
        result = a > b;
        break;
    case 0x2c:
        result = a <= b;
        break;
    case 0x2d:
        result = a < b;
        break;
    case 0x2e:
        result = a != b;
        break;
    default:
        return false;
    }
    t->count--;
    t->at[t->count - 1].value = result;
    return true;
}

static bool terms_constant(struct terms *t, struct cursor *c, uint8_t op)
{
    switch (op) {
    case 0x08: /* DW_OP_const1u, 1s, 2u, 2s, 4u, 4s, 8u, 8s, constu, consts */
        return terms_push(t, TERM_CONSTANT, 0, (int64_t)read_bytes(c, 1));
    case 0x09:
        return terms_push(t, TERM_CONSTANT, 0, (int8_t)read_bytes(c, 1));
    case 0x0a:
        return terms_push(t, TERM_CONSTANT, 0, (int64_t)read_bytes(c, 2));
    case 0x0b:
        return terms_push(t, TERM_CONSTANT, 0, (int16_t)read_bytes(c, 2));
    case 0x0c:
        return terms_push(t, TERM_CONSTANT, 0, (int64_t)read_bytes(c, 4));
    case 0x0d:
        return terms_push(t, TERM_CONSTANT, 0, (int32_t)read_bytes(c, 4));
    case 0x0e:
    case 0x0f:
        return terms_push(t, TERM_CONSTANT, 0, (int64_t)read_bytes(c, 8));
    case 0x10:
        return terms_push(t, TERM_CONSTANT, 0, (int64_t)read_uleb(c));
    default:
        return terms_push(t, TERM_CONSTANT, 0, read_sleb(c));
    }
}

static bool terms_register(struct terms *t, struct cursor *c, uint8_t reg, uintptr_t ip)
{
    int64_t offset = read_sleb(c);

#if defined(__x86_64__)
    if (reg == REG_RA) {
        if (__builtin_add_overflow((int64_t)ip, offset, &offset))
            return false;
        return terms_push(t, TERM_CONSTANT, 0, offset);
    }
#else
    (void)ip;
#endif
    return terms_push(t, TERM_REGISTER, reg, offset);
}

static bool terms_run_one(struct terms *t, struct cursor *c, uintptr_t ip)
{
    uint8_t op = read_u8(c);

    if (op >= 0x08 && op <= 0x11)
        return terms_constant(t, c, op);
    if (op >= 0x30 && op <= 0x4f) /* DW_OP_lit0 .. 31 */
        return terms_push(t, TERM_CONSTANT, 0, op - 0x30);
    if (op >= 0x70 && op <= 0x8f) /* DW_OP_breg0 .. 31 */
        return terms_register(t, c, (uint8_t)(op - 0x70), ip);
    switch (op) {
    case 0x06:
        return terms_deref(t);
    case 0x12: /* DW_OP_dup */
        if (t->count == 0 || t->count == TERMS_MAX)
            return false;
        t->at[t->count] = t->at[t->count - 1];
        t->count++;
        return true;
    case 0x13: /* DW_OP_drop */
        return t->count-- > 0;
    case 0x22:
        return terms_plus(t);
    case 0x23: /* DW_OP_plus_uconst */
        return t->count > 0 && term_add(&t->at[t->count - 1], (int64_t)read_uleb(c));
    case 0x96: /* DW_OP_nop */
        return true;
    default:
        return terms_binary(t, op);
    }
}

/* Evaluates the expression at base + offset. False: it cannot be known beforehand. */
static __attribute__((noinline)) bool expression_value(const struct unwind_tables *tables,
                                                       int32_t offset, uintptr_t ip,
                                                       bool starts_with_cfa, struct term *value)
{
    struct cursor c = {(const uint8_t *)tables->lo + offset, (const uint8_t *)tables->hi, false};
    struct terms terms;
    uint64_t length = read_uleb(&c);

    terms.count = 0;
    if (c.bad || length > (uint64_t)(c.end - c.at))
        return false;
    c.end = c.at + length;
    if (starts_with_cfa)
        (void)terms_push(&terms, TERM_REGISTER, TERM_CFA, 0);
    while (c.at < c.end)
        if (!terms_run_one(&terms, &c, ip) || c.bad)
            return false;
    if (terms.count == 0)
        return false;
    *value = terms.at[terms.count - 1];
    return value->value == (int32_t)value->value;
}

static bool layout_set_cfa(struct unwind_layout *layout, const struct row *row,
                           const struct unwind_tables *tables, uintptr_t ip)
{
    struct term value;

    if (row->cfa_rule == RULE_AT_CFA) {
        value = (struct term){.value = row->cfa, .kind = TERM_REGISTER, .reg = row->cfa_register};
    } else if (row->cfa_rule != RULE_EXPRESSION ||
               !expression_value(tables, row->cfa, ip, false, &value)) {
        return false;
    }
    if (value.kind == TERM_CONSTANT || (value.reg != REG_SP && value.reg != REG_BP))
        return false;
    if (value.kind == TERM_REGISTER)
        layout->form = value.reg == REG_SP ? UNWIND_CFA_SP : UNWIND_CFA_BP;
    else
        layout->form = value.reg == REG_SP ? UNWIND_CFA_AT_SP : UNWIND_CFA_AT_BP;
    layout->cfa = (int32_t)value.value;
    layout->more = (int8_t)(value.more / 8);
    return layout->more * 8 == value.more;
}

/* A register saved where we do not look is lost, which is not yet the end. */
static void layout_set_bp(struct unwind_layout *layout, const struct row *row,
                          const struct unwind_tables *tables, uintptr_t ip)
{
    struct term value;

    layout->bp = row->bp;
    switch (row->bp_rule) {
    case RULE_SAME:
        layout->bp_saved = UNWIND_SAME;
        return;
    case RULE_AT_CFA:
        layout->bp_saved = UNWIND_AT_CFA;
        return;
    case RULE_EXPRESSION:
        if (expression_value(tables, row->bp, ip, true, &value) && value.kind == TERM_REGISTER &&
            (value.reg == REG_BP || value.reg == TERM_CFA)) {
            layout->bp_saved = value.reg == REG_BP ? UNWIND_AT_BP : UNWIND_AT_CFA;
            layout->bp = (int32_t)value.value;
            return;
        }
        break;
    default:
        break;
    }
    layout->bp_saved = UNWIND_LOST;
}

static bool layout_set_ra(struct unwind_layout *layout, const struct row *row)
{
    layout->ra = row->ra;
    layout->ra_saved = UNWIND_AT_CFA;
#if defined(__x86_64__)
    return row->ra_rule == RULE_AT_CFA && row->ra == -8; /* where a call puts it */
#else
    if (row->ra_rule == RULE_SAME)
        layout->ra_saved = UNWIND_SAME;
    return row->ra_rule == RULE_AT_CFA || row->ra_rule == RULE_SAME;
#endif
}

static __attribute__((noinline)) struct unwind_layout
layout_from_row(struct row row, const struct unwind_tables *tables, uintptr_t ip)
{
    struct unwind_layout layout = {.form = UNWIND_NONE};

    if (row.cfa_rule == ROW_NONE)
        return layout;
    if (row.cfa_rule != ROW_OPAQUE && row.ra_rule == RULE_UNDEFINED)
        layout.form = UNWIND_END;
    else if (row.cfa_rule == ROW_OPAQUE || !layout_set_ra(&layout, &row) ||
             !layout_set_cfa(&layout, &row, tables, ip))
        layout.form = UNWIND_OPAQUE;
    else
        layout_set_bp(&layout, &row, tables, ip);
    return layout;
}

/* An entry's body; `entry` is the address of its length word. */
static struct cursor entry_open(const struct unwind_tables *tables, uintptr_t entry)
{
    struct cursor c = {(const uint8_t *)entry, (const uint8_t *)tables->hi, false};
    uint32_t length;

    if (entry < tables->lo || entry >= tables->hi) {
        c.bad = true;
        return c;
    }
    length = read_u32(&c);
    if (length == 0 || length >= 0xfffffff0u || length > (uint64_t)(c.end - c.at))
        c.bad = true; /* the terminator, the 64-bit format (no linker writes it), or garbage */
    else
        c.end = c.at + length;
    return c;
}

/* The letters after 'z', in their order; returns whether all are known. */
static bool cie_augmentation(struct program *p, struct cursor *c, const char *letters)
{
    for (; *letters; letters++) {
        uint8_t encoding;

        switch (*letters) {
        case 'R':
            p->pointer_encoding = read_u8(c);
            break;
        case 'P':
            encoding = read_u8(c);
            if (encoding != PE_OMIT)
                (void)read_format(c, encoding & PE_FORMAT);
            break;
        case 'L':
            (void)read_u8(c);
            break;
        case 'S':
            p->is_signal_frame = true;
            break;
        case 'B': /* aarch64: return addresses are signed with the B key */
        case 'G': /* aarch64: memory tagging on the stack */
            break;
        default:
            return false;
        }
    }
    return true;
}

/* Reads the CIE that p->code is at the body of, up to its initial instructions. */
static inline bool cie_read(struct program *p)
{
    struct cursor *c = &p->code;
    const char *letters;
    const uint8_t *after;
    uint64_t size;
    uint8_t version;

    if (read_u32(c) != 0) /* CIE id */
        return false;
    version = read_u8(c);
    if (version != 1 && version != 3 && version != 4)
        return false;
    letters = (const char *)c->at;
    while (read_u8(c) != 0) {
    }
    if (version == 4 && read_bytes(c, 2) != sizeof(void *))
        return false;                       /* address size, and no segments */
    p->code_align = (uint32_t)read_uleb(c); /* 1 or 4, and -8: no compiler writes others */
    p->data_align = (int32_t)read_sleb(c);
    if ((version == 1 ? read_u8(c) : read_uleb(c)) != REG_RA || c->bad)
        return false;
    p->has_size = letters[0] == 'z';
    if (!p->has_size)
        return letters[0] == '\0';
    size = read_uleb(c);
    if (c->bad || size > (uint64_t)(c->end - c->at))
        return false;
    after = c->at + size;
    if (!cie_augmentation(p, c, letters + 1))
        return false;
    c->at = after;
    return !c->bad;
}

/* The row in force at `address` in the FDE at `entry`, if that covers it. */
static __attribute__((noinline)) struct row fde_row(const struct unwind_tables *tables,
                                                    uintptr_t entry, uintptr_t address)
{
    struct program p;
    uintptr_t cie;
    uint64_t size;

    memset(&p, 0, offsetof(struct program, remembered));
    p.base = (const uint8_t *)tables->lo;
    p.address = UINTPTR_MAX; /* the CIE's instructions hold throughout */
    p.code = entry_open(tables, entry);
    cie = (uintptr_t)p.code.at;
    cie -= read_u32(&p.code);
    if (p.code.bad)
        goto none;
    p.code = entry_open(tables, cie);
    p.row.cfa_rule = RULE_OTHER;
    if (!cie_read(&p))
        goto none;
    program_run(&p);
    if (p.code.bad)
        goto none;
    p.initial = p.row;
    p.code = entry_open(tables, entry);
    skip_bytes(&p.code, sizeof(uint32_t));
    p.location = read_encoded(&p.code, p.pointer_encoding);
    size = read_format(&p.code, p.pointer_encoding & PE_FORMAT);
    if (p.code.bad || address < p.location || address - p.location >= size)
        goto none;
    if (p.has_size)
        skip_bytes(&p.code, read_uleb(&p.code));
    p.address = address;
    program_run(&p);
    if (p.code.bad)
        goto none;
    if (p.opaque || p.is_signal_frame)
        p.row.cfa_rule = ROW_OPAQUE;
    return p.row;
none:
    p.row.cfa_rule = ROW_NONE;
    return p.row;
}

/* The last entry of the search table that starts at or before `address`; 0: none. */
static __attribute__((noinline)) uintptr_t hdr_search(const struct unwind_tables *tables,
                                                      uintptr_t address)
{
    struct cursor c = {(const uint8_t *)tables->hdr, (const uint8_t *)tables->hi, false};
    uint32_t encodings = read_u32(&c), low, high;
    int64_t wanted = (int64_t)(address - tables->hdr);
    const uint8_t *table;
    int32_t entry[2];

    /* Version 1 and the encodings that all linkers write; without a table there is no search. */
    if (encodings != (1u | PE_HDR_POINTER << 8 | PE_HDR_COUNT << 16 | (uint32_t)PE_HDR_TABLE << 24))
        return 0;
    (void)read_u32(&c); /* .eh_frame itself */
    high = read_u32(&c);
    table = c.at;
    if (c.bad || high > (uint64_t)(c.end - table) / sizeof(entry))
        return 0;
    for (low = 0; low < high;) {
        uint32_t middle = low + (high - low) / 2;

        memcpy(entry, table + (size_t)middle * sizeof(entry), sizeof(entry));
        if (entry[0] <= wanted)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0)
        return 0;
    memcpy(entry, table + (size_t)(low - 1) * sizeof(entry), sizeof(entry));
    return tables->hdr + (uintptr_t)(intptr_t)entry[1];
}

struct unwind_layout unwind_cfi_layout(const struct unwind_tables *tables, uintptr_t address,
                                       uintptr_t ip)
{
    struct row row = {.cfa_rule = ROW_NONE};
    uintptr_t entry = 0;

    if (tables->hdr >= tables->lo && tables->hdr < tables->hi)
        entry = hdr_search(tables, address);
    if (entry)
        row = fde_row(tables, entry, address);
    return layout_from_row(row, tables, ip);
}
