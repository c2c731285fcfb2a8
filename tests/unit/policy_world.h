/*
 * policy_world.h: a ledger in memory of its own, with owners, descriptors and mappings that exist
 * in it alone: what the policies' unit tests ask them about. It makes no descriptor and no mapping.
 */
#ifndef TESTS_UNIT_POLICY_WORLD_H
#define TESTS_UNIT_POLICY_WORLD_H

#include "policy/policy.h"

#define WORLD_PAGE 4096u
#define WORLD_STACK_FRAME 0x1234u

/* cmocka's setup and teardown. */
int world_begin(void **state);
int world_end(void **state);

struct ledger *world_ledger(void);

/* The calling thread's. */
struct ledger_actor *world_actor(void);

/* In this thread, for `owner`; system calls are not allowed. */
struct policy_event world_event(uint32_t owner);

uint32_t world_owner(uint32_t parent);
void world_owner_ends(uint32_t owner);

void world_take_fd(int fd, uint32_t owner);
void world_close_fd(int fd);
void world_map(uint64_t start, uint64_t bytes, int prot, uint32_t owner);
void world_unmap(uint64_t start, uint64_t bytes);
/* A memory slot of the VM that `vm` is. */
void world_bind(uint32_t vm, unsigned slot, uint64_t start, uint64_t bytes);

#endif
