/*
 * program.c: which program a command line runs, for what is kept from run to run under that name:
 * a baseline. Where the command is an interpreter that is its script, or its module, so that a.py
 * is the same program as `python3 a.py`, and another than `python3 b.py`. It starts nothing, and
 * reads no file.
 */
#include <string.h>
#include <sys/stat.h>

#include "cli/gate.h"
#include "report/escape.h"

/* Their options, as far as they tell what runs; letters, as for getopt. */
static const struct interpreter {
    const char *name;     /* a version may follow it: python3.11 */
    const char *code;     /* what runs is the option's argument, and no file */
    const char *module;   /* the option's argument names what runs */
    const char *attached; /* the rest of the word is no options */
} interpreters[] = {
    {"python", "c", "m", "WX"},   {"pypy", "c", "m", "WX"},   {"perl", "eE", "", "CDFIMVilmx0"},
    {"ruby", "e", "", "CEFIWrx"}, {"node", "ep", "", "Cr"},   {"nodejs", "ep", "", "Cr"},
    {"lua", "e", "", "l"},        {"php", "BERr", "", "cdz"}, {"sh", "c", "", ""},
    {"bash", "c", "", ""},        {"dash", "c", "", ""},      {"ksh", "c", "", ""},
    {"zsh", "c", "", ""},
};

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash && slash[1] ? slash + 1 : path;
}

static const struct interpreter *find_interpreter(const char *name)
{
    for (size_t i = 0; i < sizeof interpreters / sizeof *interpreters; i++) {
        size_t length = strlen(interpreters[i].name);

        if (strncmp(name, interpreters[i].name, length) == 0 &&
            name[length + strspn(name + length, "0123456789.")] == '\0')
            return &interpreters[i];
    }
    return NULL;
}

static bool is_file(const char *path)
{
    struct stat file;

    return stat(path, &file) == 0 && S_ISREG(file.st_mode);
}

/* The script or module that an interpreter runs; NULL: none, or none that could be told. A word
 * that is no file is passed over: it is an option's argument. */
static const char *find_script(const struct interpreter *interpreter, char **words, int count)
{
    for (int i = 1; i < count; i++) {
        bool is_option = words[i][0] == '-';
        const char *letter = words[i] + 1;

        if (!is_option && is_file(words[i]))
            return last_part(words[i]);
        if (!is_option || *letter == '-')
            continue;
        for (; *letter && !strchr(interpreter->attached, *letter); letter++) {
            if (strchr(interpreter->code, *letter))
                return NULL;
            if (strchr(interpreter->module, *letter))
                return letter[1] ? letter + 1 : words[i + 1];
        }
    }
    return NULL;
}

const char *program_name(struct arena *arena, char **words, int count)
{
    const char *name = last_part(words[0]);
    const struct interpreter *interpreter = find_interpreter(name);
    const char *script = interpreter ? find_script(interpreter, words, count) : NULL;

    return escape_utf8(arena, script ? script : name);
}
