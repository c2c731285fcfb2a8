/*
 * stats.h: the stat(2) family of a sandbox. The kernel answers; boxsup looks on.
 */
#ifndef SUPERVISOR_STATS_H
#define SUPERVISOR_STATS_H

struct notification;

void stats_answer(const struct notification *notification);

#endif
