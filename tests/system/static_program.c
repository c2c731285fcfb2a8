/*
 * static_program.c: linked statically: no preload enters it.
 */
#include <sys/mman.h>

int main(void)
{
    return memfd_create("never seen", 0) < 0;
}
