/*
 * resolve.h: openat2(2), as everything here asks for it.
 */
#ifndef SUPERVISOR_RESOLVE_H
#define SUPERVISOR_RESOLVE_H

/* The file as a new descriptor, closed on exec, or -1 with openat2's errno. `flags` are O_...,
 * without O_CREAT; `resolve` is RESOLVE_... of <linux/openat2.h>.
 *
 * Below RESOLVE_IN_ROOT and RESOLVE_BENEATH the kernel takes back a `..` with EAGAIN whenever
 * anything was renamed or mounted meanwhile, anywhere on the machine (openat2.2; handle_dots() in
 * fs/namei.c): a program inside would see an error that no open(2) has. It is tried again, so often
 * that only a path of many hundred `..` among renames without pause still fails. */
int resolve_open(int directory, const char *path, unsigned flags, unsigned resolve);

#endif
