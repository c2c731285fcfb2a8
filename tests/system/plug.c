/*
 * plug.c: the libraries that runpath_lookup and code_replaced load, by -DPLUG_...: one source,
 * so that two of them can have the same code at the same place but frames of other sizes.
 */
#include <dlfcn.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

#ifndef PLUG_FRAME
#define PLUG_FRAME 512
#endif
#ifndef PLUG_NAME
#define PLUG_NAME "plug"
#endif

int plug_take(void);
const char *plug_name(void);
void *plug_open(const char *soname);

/* A call with a frame of PLUG_FRAME bytes below its return address. */
__attribute__((noinline)) int plug_take(void)
{
    volatile char room[PLUG_FRAME];
    room[0] = 1;
    room[PLUG_FRAME - 1] = 1;
    int fd = memfd_create(PLUG_NAME, 0);
    return room[0] == 1 ? fd : -1;
}

const char *plug_name(void)
{
    return PLUG_NAME;
}

/* A lookup that only this library's own RUNPATH can satisfy. */
void *plug_open(const char *soname)
{
    return dlopen(soname, RTLD_NOW | RTLD_LOCAL);
}
