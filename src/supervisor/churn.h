/*
 * churn.h: `boxsup churn`: one sandbox after another, many at once, and what this process holds
 * meanwhile. It is what shows that nothing of them stays, or, with a defect, what does.
 */
#ifndef SUPERVISOR_CHURN_H
#define SUPERVISOR_CHURN_H

/* Returns the exit status. */
int churn_command(int argc, char **argv);

#endif
