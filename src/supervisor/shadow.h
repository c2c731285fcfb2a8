/*
 * shadow.h: shadow descriptors: files below one directory are opened as copies, which the kernel
 * can map into the sandbox, and which nobody can change.
 *
 * A copy is a memfd, sealed, and its reader's descriptor is read-only. It is a snapshot: what the
 * file becomes later is told to the user, and not to the sandbox. boxsup keeps the copy while the
 * sandbox lives, for the next open of the same file, and within a budget that all sandboxes share.
 * Nothing is ever written back. doc/shadow-descriptors.md has the whole of it.
 */
#ifndef SUPERVISOR_SHADOW_H
#define SUPERVISOR_SHADOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

struct error;
struct lazy_copy;
struct notification;
struct sandbox;
struct shadow;
struct shadow_budget;

/* The cap where none is given: of one file. */
#define SHADOW_CAP (UINT64_C(256) << 20)

/* A sandbox's: each is a descriptor of boxsup's. */
#define SHADOW_FILES_MAX 256

struct shadows {
    struct shadow *items;
    size_t count;
};

/* Half of the machine's memory: no budget may be more. And what it is where none is given. */
uint64_t shadow_budget_most(void);
uint64_t shadow_budget_default(void);

int shadow_budget_make(struct shadow_budget **budget, uint64_t bytes, struct error *error);

/* Whether an open of what `target`, an O_PATH descriptor, leads to is answered with a copy. */
bool shadow_is_meant(const struct notification *notification, int target, int flags);

/* Answers it: with a copy, or EFBIG: the file is larger than the cap; ENOMEM: the budget does not
 * have as much left; ENFILE: the sandbox has too many; EBUSY: the file does not hold still. */
void shadow_answer_open(const struct notification *notification, int target, int flags);

/* Of those that are filled when they are read (lazy_copy.h): whether something of any is missing;
 * that of a memfd, NULL where nothing is missing; and all that is missing of all, 0, or an errno
 * value. */
bool shadow_is_any_missing(const struct sandbox *sandbox);
struct lazy_copy *shadow_find_missing(const struct sandbox *sandbox, const struct stat *copy);
int shadow_fill_all(const struct sandbox *sandbox);

/* A sandbox asks about a descriptor, or about the file that `target` leads to: tells the user if it
 * is a copy, or was copied, and the file has changed since. */
void shadow_check_copy(const struct sandbox *sandbox, const struct stat *copy);
void shadow_check_source(const struct sandbox *sandbox, int target);

/* The sandbox has ended. */
void shadow_clear(struct sandbox *sandbox);

#endif
