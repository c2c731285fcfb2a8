/*
 * cow_commit.h: what changed in the upper layer of a copy-on-write directory, written back to DIR.
 *
 * Each file is written beside its place and put there by rename(2), so that at any moment DIR has
 * either the old one or the whole new one. No link in DIR is followed, so nothing outside is
 * written to; no file is given a setuid bit. What only stands for a file of DIR leaves it alone,
 * and so does what the sandbox never looked at.
 */
#ifndef SUPERVISOR_COW_COMMIT_H
#define SUPERVISOR_COW_COMMIT_H

struct cow;
struct error;

/* After the sandbox has ended. Returns 0, or -1 with the reason in *error: it stopped there. */
int cow_commit(struct cow *cow, struct error *error);

#endif
