/*
 * opens.h: the open(2) family of a sandbox: what boxsup answers for, and what the kernel does.
 *
 * Which file a path means is found out for one purpose: to answer for those that are virtual. That
 * another thread can change the path meanwhile does no harm: what boxsup answers with it has opened
 * itself, and all else the kernel decides by Landlock, which grants none of the virtual ones.
 */
#ifndef SUPERVISOR_OPENS_H
#define SUPERVISOR_OPENS_H

struct notification;

void opens_answer(const struct notification *notification);

#endif
