/*
 * cli.h: what the files of the command share.
 *
 * The command decides nothing about a ledger: it starts programs, keeps their ledgers and has
 * reports written. Its exit statuses are an interface (boxledger(1)).
 */
#ifndef BOXLEDGER_CLI_CLI_H
#define BOXLEDGER_CLI_CLI_H

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "options.h"
#include "report/base.h"
#include "report/write.h"
#include "sandbox/rules.h"

enum cli_status {
    CLI_USAGE = 2,                   /* a mistake in the command line; nothing was started */
    CLI_NOT_WATCHED = 124,           /* no image of the program ever loaded the shim */
    CLI_FAILED = BASE_STATUS_FAILED, /* boxledger itself could not do its work */
    CLI_NOT_EXECUTABLE = 126,
    CLI_NOT_FOUND = 127,
    CLI_SIGNAL_BASE = 128,
};

/* The keys that are the gate's alone. */
#define CLI_GATE_KEYS                                                                              \
    (UINT64_C(1) << OPTIONS_KEY_baseline | UINT64_C(1) << OPTIONS_KEY_update_baseline |            \
     UINT64_C(1) << OPTIONS_KEY_max_leaked | UINT64_C(1) << OPTIONS_KEY_repeat |                   \
     UINT64_C(1) << OPTIONS_KEY_found_in | UINT64_C(1) << OPTIONS_KEY_min_sandboxes)

/* What libdw may want of a stack, generously. */
#define CLI_STACK_SIZE (UINT64_C(8) << 20)

/* "boxledger: ..." and a newline, on stderr. */
void cli_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* --- arguments.c --- */

struct arguments {
    struct options options;
    struct arena arena;
    char **operands; /* what follows the options: COMMAND..., LEDGER... */
    int operand_count;
    bool help, version;
    const char **reports; /* every --report of the command line, in its order */
    size_t report_count;
};
/* Reads BOXLEDGER_OPTIONS, then the command line. `only` lists the keys (bits) that this
 * subcommand takes; others are errors on the command line and ignored in the environment.
 * Returns false after one line on stderr. */
bool arguments_read(struct arguments *arguments, const char *subcommand, uint64_t only, int argc,
                    char **argv);
void arguments_free(struct arguments *arguments);
/* Whether the options make sense together, for a program started from here; false after one line
 * on stderr. */
bool arguments_agree(const struct arguments *arguments);
/* A text option as a string, NULL where it was not given. */
char *arguments_text(struct arguments *arguments, struct options_text text);
/* The lines of --help, for the keys in `only`. */
void arguments_help(FILE *out, uint64_t only);

/* --- rules.c --- */

/* Reads the file of rules; false after one line on stderr, which names the first mistake's. */
bool rules_load(struct rules *rules, struct arena *arena, const char *path);
/* For the shim, whose program may change its directory and exec. */
bool rules_make_absolute(struct arguments *arguments);

/* --- target.c --- */

/* What is known about a program before it is started. */
struct target {
    char *path;    /* as execvp will find it */
    char *preload; /* what must come before the shim: a sanitizer's runtime; or NULL */
    bool refused;  /* it certainly cannot be watched; `failure` says why */
    int status;    /* 0, or the status with which to end at once */
    struct failure failure;
    struct arena arena;
};
void target_inspect(struct target *target, const char *name);
void target_free(struct target *target);

/* --- shim.c --- */

/* The shim's path: $BOXLEDGER_SHIM, beside this executable, or where it is installed. */
char *shim_find(struct arena *arena, struct failure *failure);

/* --- output.c --- */

struct output {
    const char *path; /* NULL: `standard` */
    FILE *standard;
    int fd; /* of path, -1 without */
    bool created, json;
    uint64_t settle_ns;
    struct write_options write;
    struct suppressions suppressions;
    struct rules rules;
    struct symbols *symbols;
    struct write_summary summary;
    struct output_report {
        struct report report;
        struct reader *reader;
        struct kernel_view view;
        bool has_view;
    } * reports;
    size_t count;
};
/* Reads what says which findings count: suppressions, rules, times. False after one line. */
bool output_prepare(struct output *output, struct arguments *arguments);
/* Checks everything that can be wrong with the output before anything is started. */
bool output_begin(struct output *output, struct arguments *arguments, FILE *standard);
/* Adds one ledger's report; takes the reader and the view (which may be NULL). */
bool output_add(struct output *output, struct reader *reader, struct kernel_view *view,
                struct failure *failure);
/* Writes all, in the order in which they came. `follow`: those after the first are children. */
bool output_end(struct output *output, bool follow);
bool output_has_errors(const struct output *output);
/* Drops all; with `undo`, a file that output_begin created goes, too. */
void output_free(struct output *output, bool undo);

/* --- streams.c --- */

/* From now on stdout and stderr wait where they would be told EAGAIN. */
void streams_begin(void);

/* --- save.c --- */

/* Gives back the pages of a finished ledger's file that hold nothing. */
void save_compact(int fd);

/* Copies what is used of the ledger open at `from` to `to`, with the view as its annex. */
bool save_ledger(int from, int to, const struct kernel_view *view, struct failure *failure);

/* A name under which a ledger is kept. As long as its process runs the name leads to the ledger
 * that the process writes; then, at once, to the file that is saved; it never is half a file. */
struct save {
    char *path;    /* NULL: none */
    char link[64]; /* where the name leads meanwhile; "": to an empty file, by `fd` */
    int fd;
};
/* `ledger` is open in this process until the end. False: the name is taken, or cannot be had. */
bool save_begin(struct save *save, char *path, int ledger, struct failure *failure);
bool save_finish(struct save *save, int ledger, const struct kernel_view *view,
                 struct failure *failure);
/* Takes the name away, where it is still what save_begin made of it. */
void save_undo(struct save *save);
/* Lets go of it as it is. */
void save_forget(struct save *save);
/* What to say of a name that leads nowhere: that a command was killed which kept a ledger; or "".
 */
const char *save_says_lost(const char *path);

/* --- watch.c --- */

struct ahead;

/* One ledger that the command keeps. */
struct watched {
    char *path; /* of a followed process's file; NULL: the memfd */
    int fd;
    uint32_t *futex; /* the page of the header with process_state, or NULL: used as an address
                        only, never read: a file may be cut off under us */
    pid_t pid;       /* 0: not known yet */
    int pidfd;       /* -1: none */
    uint32_t state, serial; /* as last seen */
    uint64_t start_ns;      /* of a followed process: for their order */
    bool ended;
    struct kernel_view view;
    uint32_t census_epoch; /* header.epoch at the last census */
    uint64_t next_census_ns;
    uint64_t events_seen; /* that were looked at for limits nearly reached */
    bool warned[2];       /* by enum report_resource: once is enough */
    pid_t warning;        /* the process that writes it; 0: none */
    struct ahead *ahead;  /* begun at its exit; NULL: nothing is */
};
struct watch {
    struct watched **items;
    size_t count;
    const char *directory; /* of followed processes' ledgers; NULL: none are followed */
    int lock;              /* on it, while we live: the shim looks */
    int inotify;
    char **pending; /* files in the directory that are not ledgers yet */
    size_t pending_count;
    uint64_t pending_since_ns;
    uint64_t next_sample_ns, sample_interval_ns;
};
struct watched *watch_add(struct watch *watch, int fd, const char *path, pid_t pid);
/* Tells the shim that its ledger is kept; initial words of the header for a new ledger. */
bool watch_create_ledger(int *fd, struct failure *failure);
bool watch_follow(struct watch *watch, const char *directory, struct failure *failure);
/* Serves every ledger once: new ones, exits that wait, names to be noted. */
void watch_serve(struct watch *watch);
/* Sleeps until a ledger or *wake (counted up by signal handlers) changes, or something is due. */
void watch_sleep(struct watch *watch, const uint32_t *wake, uint32_t seen);
/* The last words about a ledger's process. */
void watch_end(struct watched *watched, int wait_status);
/* Looks once more at what still runs, and lets go of all: nobody waits for us any more. */
void watch_finish(struct watch *watch);
void watch_free(struct watch *watch);

/* --- warn.c --- */

/* Says on stderr, once for each of them, that the process has nearly reached a limit, and what
 * holds most. It is another process of ours that looks it up and writes it: names may take time,
 * and an exit must not wait for that. */
void warn_about_limits(struct watched *watched);
/* Waits for it. */
void warn_finish(struct watched *watched);

/* --- ahead.c --- */

struct ahead {
    struct symbols *symbols;
    int ledger;
    pthread_t thread;
    bool begun;
};
/* Begins to read what the names in a report of this ledger need, unless it has begun. */
void ahead_begin(struct ahead *ahead, int ledger);
/* Waits for it, if it has begun. */
void ahead_finish(struct ahead *ahead);

/* --- run.c --- */

#define RUN_SIGNALS 8 /* that the command handles */

/* Those that the C library keeps to itself, below SIGRTMIN: it handles one as soon as there is a
 * second thread, and sigaction(3) knows nothing of them. As rt_sigaction(2) takes them. */
#define RUN_INTERNAL_SIGNALS 2
struct run_action {
    void *handler;
    unsigned long flags;
    void *restorer;
    uint64_t mask;
};

/* A program, run once or more. */
struct run {
    struct arguments *arguments;
    struct output *output;
    /* what came of the last run */
    int wait_status;
    size_t reports;         /* of its processes: the last ones of the output */
    bool complete;          /* all of them could be had, and their ledgers saved */
    struct failure failure; /* why there are none; it has been said */
    /* while it runs */
    struct target target;
    struct watch watch;
    struct watched *root;
    struct ahead ahead; /* of its names */
    char *shim;
    char *options;    /* BOXLEDGER_OPTIONS of the program */
    char *preload;    /* LD_PRELOAD of the program */
    char *save_as;    /* NULL: no ledger is saved */
    struct save save; /* of the program's own */
    char *directory;  /* of followed processes' ledgers; NULL */
    /* what the program is to find as it was */
    struct sigaction actions_before[RUN_SIGNALS];
    struct run_action internal_before[RUN_INTERNAL_SIGNALS];
    sigset_t mask_before;
    struct rlimit stack_before, files_before;
    int *inherited; /* descriptors, but for the standard ones */
    size_t inherited_count;
};
/* Handles signals from now on, to the end of the command. */
void run_begin(struct run *run, struct arguments *arguments, struct output *output);
/* Runs the operands under the shim to their end and adds the reports to the output; the ledger is
 * saved as `ledger`, unless NULL. Returns 0, with `wait_status` and `reports` set, or the status of
 * enum cli_status with which a command ends that has no report. */
int run_once(struct run *run, const char *ledger);
/* Gives back what run_begin took; signals stay handled. */
void run_end(struct run *run);
/* Whether the last run went on, by exec, where it could not be watched; it has been said then. */
bool run_went_on(struct run *run, const struct output *output);
/* The first signal since run_begin that asked the command to end, passed on or not; 0: none. */
int run_interrupted(void);

/* --- the subcommands --- */

int run_main(int argc, char **argv);
int gate_main(int argc, char **argv);
int report_main(int argc, char **argv);
int top_main(int argc, char **argv);
int metrics_main(int argc, char **argv);

#endif
