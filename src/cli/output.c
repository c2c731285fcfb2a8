/*
 * output.c: where reports go, and in what form. Whatever can be wrong with that is found out
 * before a program is started; a report that cannot be written in the end is said on stderr.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "cli/cli.h"

static bool open_file(struct output *output)
{
    /* Not O_TRUNC: until there is a report, an old one stays. */
    output->fd = open(output->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOCTTY, 0666);
    output->created = output->fd >= 0;
    if (output->fd < 0 && errno == EEXIST)
        output->fd = open(output->path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY, 0666);
    if (output->fd < 0) {
        cli_say("--report: %s: %s", output->path, strerror(errno));
        return false;
    }
    return true;
}

bool output_prepare(struct output *output, struct arguments *arguments)
{
    const struct options *options = &arguments->options;
    const char *suppressions = arguments_text(arguments, options->suppressions);
    struct failure failure = {0};

    output->settle_ns = options->settle_ms * UINT64_C(1000000);
    output->write.live = options->live;
    output->write.print_suppressions = options->print_suppressions;
    if (suppressions) {
        if (!suppressions_load(&output->suppressions, suppressions, &failure)) {
            cli_say("--suppressions: %s", failure.text);
            return false;
        }
        output->write.suppressions = &output->suppressions;
    }
    if (options->rules.text &&
        !rules_load(&output->rules, &arguments->arena, arguments_text(arguments, options->rules)))
        return false;
    output->symbols = symbols_new();
    return true;
}

bool output_begin(struct output *output, struct arguments *arguments, FILE *standard)
{
    const char *format = arguments_text(arguments, arguments->options.format);

    *output = (struct output){.fd = -1, .standard = standard};
    output->path = arguments_text(arguments, arguments->options.report);
    if (format && strcmp(format, "json") == 0) {
        output->json = true;
    } else if (format && strcmp(format, "text") != 0) {
        cli_say("--format=%s: formats are text and json", format);
        return false;
    }
    return output_prepare(output, arguments) && (!output->path || open_file(output));
}

/* As late as this, since the program's limit is not ours. Of a small hard limit main.c takes care.
 */
static void allow_stack(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_STACK, &limit) != 0 || limit.rlim_cur >= CLI_STACK_SIZE ||
        limit.rlim_max < CLI_STACK_SIZE)
        return;
    limit.rlim_cur = CLI_STACK_SIZE;
    (void)setrlimit(RLIMIT_STACK, &limit);
}

bool output_add(struct output *output, struct reader *reader, struct kernel_view *view,
                struct failure *failure)
{
    struct report_options options = {
        .suppressions = output->write.suppressions ? &output->suppressions : NULL,
        .rules = &output->rules,
        .settle_ns = output->settle_ns,
    };
    struct output_report *item;

    output->reports = base_grow(output->reports, output->count, sizeof *output->reports);
    item = &output->reports[output->count];
    allow_stack();
    memset(item, 0, sizeof *item);
    item->reader = reader;
    if (view) {
        item->view = *view;
        item->has_view = true;
        *view = (struct kernel_view){0};
    }
    /* The view is only looked at while this runs, its names for as long as the report lives. */
    output->count++;
    if (!report_build(&item->report, reader, item->has_view ? &item->view : NULL, output->symbols,
                      &options, failure)) {
        output->count--;
        report_free(&item->report);
        kernel_view_free(&item->view);
        reader_close(reader);
        return false;
    }
    write_summary_add(&output->summary, &item->report);
    return true;
}

bool output_has_errors(const struct output *output)
{
    for (size_t i = 0; i < output->count; i++)
        if (report_has_errors(&output->reports[i].report))
            return true;
    return false;
}

static void write_text(struct output *output, FILE *out)
{
    for (size_t i = 0; i < output->count; i++)
        text_write_report(out, &output->reports[i].report, &output->write, output->count == 1);
    if (output->count > 1) {
        text_write_suppressions(out, &output->write);
        text_write_summary(out, &output->summary);
    }
}

static bool write_json(struct output *output, FILE *out, bool follow)
{
    json_t *all = json_array(), *document = NULL;
    bool written;

    for (size_t i = 0; all && i < output->count; i++)
        if (json_array_append_new(all,
                                  json_of_report(&output->reports[i].report, &output->write)) != 0)
            base_no_memory();
    if (!all)
        base_no_memory();
    if (follow || output->count == 1) {
        document = json_incref(json_array_get(all, 0));
        (void)json_array_remove(all, 0);
        if (follow)
            (void)json_object_set(document, "followed", all);
    } else {
        document = json_incref(all);
    }
    if (output->write.suppressions && json_is_object(document))
        (void)json_object_set_new(document, "suppressions", json_of_suppressions(&output->write));
    written = json_write(out, document);
    json_decref(document);
    json_decref(all);
    return written;
}

bool output_end(struct output *output, bool follow)
{
    FILE *out = output->standard;
    bool good = true;

    if (output->count == 0)
        return true;
    if (output->fd >= 0) {
        struct stat file;

        if (fstat(output->fd, &file) == 0 && S_ISREG(file.st_mode))
            good = ftruncate(output->fd, 0) == 0;
        out = fdopen(output->fd, "w");
        if (!out)
            base_no_memory();
        output->fd = -1;
    }
    errno = 0;
    if (output->json)
        good = write_json(output, out, follow) && good;
    else
        write_text(output, out);
    good = fflush(out) == 0 && !ferror(out) && good;
    if (out != output->standard)
        good = fclose(out) == 0 && good;
    if (!good)
        cli_say("the report could not be written%s%s: %s", output->path ? " to " : "",
                output->path ? output->path : "", strerror(errno ? errno : EIO));
    return good;
}

void output_free(struct output *output, bool undo)
{
    for (size_t i = 0; i < output->count; i++) {
        report_free(&output->reports[i].report);
        kernel_view_free(&output->reports[i].view);
        reader_close(output->reports[i].reader);
    }
    free(output->reports);
    symbols_free(output->symbols);
    suppressions_free(&output->suppressions);
    if (output->fd >= 0)
        close(output->fd);
    if (undo && output->created)
        (void)unlink(output->path);
    *output = (struct output){.fd = -1};
}
