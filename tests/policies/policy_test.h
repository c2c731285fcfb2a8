/*
 * policy_test.h: what the tests of the policies share: what the kernel and the ledger say of what
 * was reclaimed, and sandboxes of each kind at their shortest.
 *
 * Looking is done as in tests/system/system.h. Nothing here knows how a policy decides.
 */
#ifndef TESTS_POLICIES_POLICY_TEST_H
#define TESTS_POLICIES_POLICY_TEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "../system/system.h"
#include "boxledger.h"

/* The header's counters of what policies did; all 0 when bare. */
struct policy_counts {
    uint64_t reclaimed_fds, reclaimed_mappings, reclaimed_bytes;
    uint64_t late_releases;
    uint64_t quarantined_fds, quarantined_bytes;
    uint64_t closes_unseen; /* numbers handed out again though the ledger had them held */
};
struct policy_counts policy_counts(void);

/* What a reclaimed number, and a reclaimed range, are to the kernel. */
bool is_reclaimed_number(int fd);
bool is_reserved(const void *start, size_t bytes); /* mapped without any access, all of it */
bool is_mapped(const void *start, size_t bytes);   /* somehow, all of it */

/* Who it is: the inode, 0 where nothing is open. */
uint64_t file_of(int fd);

/* How many there are, by the kernel's word. */
uint64_t open_fds(void);

/* Unseen by any wrapper, and ends no scope. */
void sleep_ms(unsigned ms);
uint64_t now_ms(void);

/* Lets `ms` go by while sandboxes that hold nothing begin and end, as in any service. */
void go_on_for(unsigned ms);
/* The same until so much was reclaimed in all; false: it was not, within `ms`. */
bool until_reclaimed(uint64_t fds, uint64_t mappings, unsigned ms);

/* Every page is written so that it is known again, and by whom. */
void mark_pages(void *start, size_t bytes, uint64_t mark);
/* By the kernel's word, so that what is gone is told and no crash. */
bool has_marks(const void *start, size_t bytes, uint64_t mark);

/* A sandbox of the API that is given one thing, and ends. */
void end_with_fd(int fd);
void end_with_range(const void *start, size_t bytes);

/* KVM: skips where there is none. */
int kvm_device(void);
int vm_create(void);
void vm_bind(int vm, unsigned slot, const void *start, size_t bytes);

/* A process that asks `calls` times what its supervisor answers, and exits. */
struct asking {
    pid_t pid;
    int pidfd, listener;
    uint64_t id; /* of its question at hand */
};
void asking_begin(struct asking *asking, unsigned calls);
void asking_receive(struct asking *asking);
/* What it asked is answered with a copy of `fd`. */
void asking_answer(struct asking *asking, int fd);
void asking_end(struct asking *asking);

#endif
