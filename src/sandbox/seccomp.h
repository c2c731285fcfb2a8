/*
 * seccomp.h: which ioctls are a listener's. seccomp_unotify(2), linux/seccomp.h.
 *
 * By type and number: the kernel looks at neither size nor direction of NOTIF_ADDFD, and of some
 * others older sizes are still taken (kernel/seccomp.c, EA_IOCTL and the switch before it).
 */
#ifndef BOXLEDGER_SANDBOX_SECCOMP_H
#define BOXLEDGER_SANDBOX_SECCOMP_H

#include <linux/seccomp.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/ioctl.h>

#ifndef SECCOMP_ADDFD_FLAG_SEND
#define SECCOMP_ADDFD_FLAG_SEND (1u << 1) /* Linux 5.14 */
#endif

enum seccomp_request {
    SECCOMP_RECV = _IOC_NR(SECCOMP_IOCTL_NOTIF_RECV),
    SECCOMP_SEND = _IOC_NR(SECCOMP_IOCTL_NOTIF_SEND),
    SECCOMP_ID_VALID = _IOC_NR(SECCOMP_IOCTL_NOTIF_ID_VALID),
    SECCOMP_ADDFD = _IOC_NR(SECCOMP_IOCTL_NOTIF_ADDFD),
};

/* Whether seccomp_on_ioctl wants to hear of it. */
static inline bool seccomp_wants(uint32_t request)
{
    return _IOC_TYPE(request) == SECCOMP_IOC_MAGIC && _IOC_NR(request) <= SECCOMP_ADDFD;
}

#endif
