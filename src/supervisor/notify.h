/*
 * notify.h: one notification of seccomp_unotify(2), from its receipt to its answer.
 *
 * The process that waits for the answer can be killed at any moment and its number given to
 * another, so its memory counts as read or written only if the notification is still valid before
 * and after. An answer to one that is gone is no error: nobody is left to be told.
 */
#ifndef SUPERVISOR_NOTIFY_H
#define SUPERVISOR_NOTIFY_H

#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct error;
struct sandbox;

struct notification {
    struct sandbox *sandbox;
    struct seccomp_notif request;
};

/* Makes answers faster where the kernel knows how (Linux 6.6). */
void notify_prepare(int listener);

/* Receives one, which was announced by poll(2), and answers it. Returns 0, also where it has gone
 * meanwhile; -1 with the reason in *error if the listener does not work. */
int notify_serve(struct sandbox *sandbox, struct error *error);

/* --- for those who answer --------------------------------------------------------------------- */

/* The thread that waits. */
static inline pid_t notify_thread(const struct notification *notification)
{
    return (pid_t)notification->request.pid;
}

bool notify_is_valid(const struct notification *notification);

/* Reads a string of the process: at most `bytes` with its end. 0, or an errno value for the
 * process: EFAULT, ENAMETOOLONG, EPERM (its memory is not for us). */
int notify_read_text(const struct notification *notification, uint64_t address, char *text,
                     size_t bytes);

/* Reads so many bytes. 0, or an errno value: EFAULT, EPERM. */
int notify_read(const struct notification *notification, uint64_t address, void *to, size_t bytes);

/* Has pages come that are filled when they are touched (--shadow-lazy): through /proc/PID/mem,
 * which does not wait for them, they are not there. False: they cannot be had. */
bool notify_touch(const struct notification *notification, uint64_t address, size_t bytes);

/* Writes to its memory. 0, or an errno value: EFAULT, EPERM. */
int notify_write(const struct notification *notification, uint64_t address, const void *from,
                 size_t bytes);

/* The call returns `value`, or fails with `number`. */
void notify_return(const struct notification *notification, int64_t value);
void notify_fail(const struct notification *notification, int number);

/* The kernel does the call, and decides on it. */
void notify_continue(const struct notification *notification);

/* The call returns a copy of `fd`, which stays the caller's, and which the caller need not keep:
 * the kernel holds the file now. */
void notify_inject(const struct notification *notification, int fd, bool close_on_exec);

#endif
