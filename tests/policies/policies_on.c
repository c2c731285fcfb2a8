/*
 * policies_on.c: which policies a ledger says are on, one a line.
 */
#include <stdio.h>

#include "../truth/ledger_view.h"
#include "policy/policy.h"

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        unsigned policy;
    } policies[] = {
        {"reclaim", POLICY_RECLAIM},
        {"rescue", POLICY_RESCUE},
        {"limit", POLICY_LIMIT},
        {"placement", POLICY_PLACEMENT},
    };
    struct ledger_view view;

    if (argc != 2 || ledger_view_open(&view, argv[1]) != 0) {
        fprintf(stderr, "usage: policies_on LEDGER\n");
        return 2;
    }
    for (unsigned i = 0; i < sizeof policies / sizeof *policies; i++) {
        if (view.header->policies & policies[i].policy) {
            puts(policies[i].name);
        }
    }
    ledger_view_close(&view);
    return 0;
}
