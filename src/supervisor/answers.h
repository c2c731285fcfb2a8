/*
 * answers.h: which part of boxsup answers which system call.
 */
#ifndef SUPERVISOR_ANSWERS_H
#define SUPERVISOR_ANSWERS_H

struct notification;

/* Answers the call, once. */
void answers_give(const struct notification *notification);

#endif
