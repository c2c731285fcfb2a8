/*
 * runpath_lookup.c: dlopen of a bare name looks in the RUNPATH of whoever calls it, the program
 * or a library (promise 8: a shim that calls the real dlopen is taken for the caller).
 *
 * The program's RUNPATH is $ORIGIN/plugs; that of plugs/libplug-outer.so is $ORIGIN/inner.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "system.h"

static void *must_open(void *handle, const char *what)
{
    const char *why = handle ? NULL : dlerror();
    check(handle != NULL, "%s: %s", what, why ? why : "?");
    return handle;
}

int main(int argc, char **argv)
{
    system_start(argc, argv, 30);
    void *outer = must_open(dlopen("libplug-outer.so", RTLD_NOW), "by the program's RUNPATH");
    void *other = must_open(dlmopen(LM_ID_NEWLM, "libplug-outer.so", RTLD_NOW), "dlmopen");
    check(dlopen("libplug-inner.so", RTLD_NOW) == NULL, "found without a RUNPATH");
    check(dlerror() != NULL, "a failed dlopen leaves no dlerror");
    check(dlopen("no-such-library.so", RTLD_NOW) == NULL && strstr(dlerror(), "no-such-library"),
          "dlerror does not name what was not found");
    if (outer) {
        void *(*open_inner)(const char *) = (void *(*)(const char *))dlsym(outer, "plug_open");
        void *inner = must_open(open_inner("libplug-inner.so"), "by the library's RUNPATH");
        if (inner) {
            const char *(*name)(void) = (const char *(*)(void))dlsym(inner, "plug_name");
            check(strcmp(name(), "inner") == 0, "the wrong library: %s", name());
            int (*take)(void) = (int (*)(void))dlsym(inner, "plug_take");
            check(is_recorded(take()), "what new code takes is not recorded");
            check(dlclose(inner) == 0, "dlclose fails");
        }
    }
    check(dlopen(NULL, RTLD_NOW) != NULL, "dlopen(NULL) fails");
    if (other)
        dlclose(other);
    if (outer)
        dlclose(outer);
    expect_exact("after plugins came and went");
    return system_end();
}
