// unwind_oracle_throw.cc: stacks taken while C++ exceptions are in flight: in destructors that the
// unwinding runs, in handlers, and in handlers' callees.
#include "unwind_oracle.h"

namespace
{

struct takes_when_destroyed {
    ~takes_when_destroyed()
    {
        take();
    }
};

__attribute__((noinline)) void thrower(int depth)
{
    takes_when_destroyed guard;

    if (depth == 0)
        throw 7;
    thrower(depth - 1);
    __asm__ volatile("");
}

} // namespace

void throw_and_catch(int depth)
{
    try {
        thrower(depth);
    } catch (int) {
        take();
    }
    take();
}
