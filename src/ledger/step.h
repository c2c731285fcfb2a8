/*
 * step.h: changes of one word that nobody sees half done.
 *
 * Other threads must not, which takes a locked instruction: 20 cycles, and as many again until what
 * follows can go on; a descriptor's life has eight. In a process of one thread only signal handlers
 * may look in between, and for them any one instruction is a whole step. libc's malloc and stdio
 * make the same difference, by the same word.
 *
 * Included by ledger.h alone.
 */
#ifndef BOXLEDGER_LEDGER_STEP_H
#define BOXLEDGER_LEDGER_STEP_H

static inline bool ledger_alone(const struct ledger *ledger)
{
#if defined(__x86_64__)
    return *ledger->alone;
#else
    (void)ledger; /* no instruction both loads and stores, but for the atomic ones */
    return false;
#endif
}

static inline void ledger_add32(const struct ledger *ledger, void *word, uint32_t amount)
{
#if defined(__x86_64__)
    if (ledger_alone(ledger)) {
        __asm__ volatile("addl %1, %0" : "+m"(*(uint32_t *)word) : "ri"(amount) : "cc", "memory");
        return;
    }
#endif
    __atomic_add_fetch((uint32_t *)word, amount, __ATOMIC_RELAXED);
}

/* Returns the new value. */
static inline uint64_t ledger_add64(const struct ledger *ledger, uint64_t *word, uint64_t amount)
{
#if defined(__x86_64__)
    if (ledger_alone(ledger)) {
        uint64_t old = amount;
        __asm__ volatile("xaddq %0, %1" : "+r"(old), "+m"(*word) : : "cc", "memory");
        return old + amount;
    }
#endif
    return __atomic_add_fetch(word, amount, __ATOMIC_RELAXED);
}

static inline bool ledger_swap32(const struct ledger *ledger, uint32_t *word, uint32_t *expected,
                                 uint32_t desired)
{
#if defined(__x86_64__)
    if (ledger_alone(ledger)) {
        bool same;
        __asm__ volatile("cmpxchgl %3, %1"
                         : "=@ccz"(same), "+m"(*word), "+a"(*expected)
                         : "r"(desired)
                         : "memory");
        return same;
    }
#endif
    return __atomic_compare_exchange_n(word, expected, desired, false, __ATOMIC_ACQ_REL,
                                       __ATOMIC_ACQUIRE);
}

#endif
