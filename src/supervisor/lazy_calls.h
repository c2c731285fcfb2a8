/*
 * lazy_calls.h: the system calls by which a sandbox can come to read a lazy copy (lazy_copy.h).
 * What they are about to read is filled before they go on.
 *
 * A program that exchanges the descriptor or moves its offset meanwhile reads zeros where nothing
 * was filled: they are its own copies, so nothing is given away.
 */
#ifndef SUPERVISOR_LAZY_CALLS_H
#define SUPERVISOR_LAZY_CALLS_H

struct notification;

void lazy_calls_answer(const struct notification *notification);

#endif
