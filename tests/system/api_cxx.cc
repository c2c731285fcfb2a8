/*
 * api_cxx.cc: boxledger.h from C++: compiled with its warnings on, and run.
 */
#include <cerrno>
#include <cstdio>

#include "boxledger.h"

int main()
{
    struct boxledger_usage usage{};
    const boxledger_owner owner = boxledger_begin("from C++");
    if (!boxledger_present()) {
        return owner == 0 && errno == ENOSYS ? 0 : 1;
    }
    const bool good = owner != 0 && boxledger_enter(owner) == 0 &&
                      boxledger_assign_fd(owner, 0) == 0 &&
                      boxledger_assign_range(owner, &usage, sizeof usage) == -1 &&
                      boxledger_usage(owner, &usage) == 0 && usage.fds == 1 &&
                      boxledger_leave(owner) == 0 && boxledger_mark() == 0 &&
                      boxledger_assign_fd(0, 0) == 0 && boxledger_end(owner) == 0 &&
                      boxledger_check(&usage) == 0;
    std::puts(good ? "good" : "bad");
    return good ? 0 : 1;
}
