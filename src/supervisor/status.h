/*
 * status.h: the exit statuses of boxsup: an interface (boxsup(1)). Below SIGNAL_BASE what is not
 * listed is the sandboxed command's own.
 */
#ifndef SUPERVISOR_STATUS_H
#define SUPERVISOR_STATUS_H

enum {
    STATUS_USAGE = 2,            /* a mistake in the command line or in a request */
    STATUS_UNSUPPORTED = 123,    /* no Landlock, no notifications, no /dev/kvm, or not for us */
    STATUS_TIMED_OUT = 124,      /* the sandbox was killed after --timeout */
    STATUS_FAILED = 125,         /* boxsup itself could not do its work */
    STATUS_NOT_EXECUTABLE = 126, /* the command is there and cannot be run */
    STATUS_NOT_FOUND = 127,      /* there is no such command */
    STATUS_SIGNAL_BASE = 128,    /* and the signal's number: what ended the command */
};

#endif
