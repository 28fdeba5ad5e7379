/* daybook index: make the index of a data folder anew, or hold it against the log. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "cli.h"
#include "journal/tools.h"
#include "progress.h"

struct look {
    struct progress progress;
    struct buffer damages; /* JSON */
    struct json_writer writer;
};

static void on_progress(void *user, uint64_t done, uint64_t total)
{
    struct look *look = user;

    look->progress.total = total;
    progress_set(&look->progress, done);
}

static void on_damage(void *user, const char *file, uint64_t position, const char *what)
{
    struct look *look = user;
    struct json_writer *w = &look->writer;

    if (cli_json) {
        json_write_object_begin(w);
        json_write_member_string(w, "file", file);
        json_write_member_u64(w, "position", position);
        json_write_member_string(w, "what", what);
        json_write_object_end(w);
        return;
    }
    progress_end(&look->progress);
    printf("%s: %s", file, what);
    if (position > 0)
        printf(" (position %" PRIu64 ")", position);
    putchar('\n');
}

static void print_report(struct look *look, const char *state, const struct journal_index_report *report)
{
    if (cli_json) {
        json_write_array_end(&look->writer);
        if (json_write_end(&look->writer) == 0)
            printf("{\"state\":\"%s\",\"events\":%" PRIu64 ",\"runs\":%" PRIu64 ",\"bytes\":%" PRIu64
                   ",\"checkpoint\":%" PRIu64 ",\"damage_count\":%" PRIu64 ",\"damages\":%.*s}\n",
                   state, report->events, report->runs, report->bytes, report->checkpoint, report->damage_count,
                   BYTES_PRINT(buffer_bytes(&look->damages)));
        return;
    }
    printf("%s: %" PRIu64 " runs of %" PRIu64 " bytes, up to position %" PRIu64 "\n", state, report->runs,
           report->bytes, report->checkpoint);
}

static int failed(int r, const char *error)
{
    return cli_error(CLI_FAILED, "%s", error[0] ? error : strerror(r < 0 ? -r : EIO));
}

static int rebuild(struct look *look, const char *folder)
{
    struct journal_index_report report;
    char error[256] = "";
    int r = journal_rebuild_index(folder, NULL, on_progress, look, &report, error);

    progress_end(&look->progress);
    if (r != 0)
        return failed(r, error);
    print_report(look, "rebuilt", &report);
    return CLI_DONE;
}

static int verify(struct look *look, const char *folder)
{
    struct journal_index_report report;
    char error[256] = "";
    int r = journal_verify_index(folder, NULL, on_damage, on_progress, look, &report, error);

    progress_end(&look->progress);
    if (r != 0)
        return failed(r, error);
    print_report(look, report.damage_count == 0 ? "whole" : "damaged", &report);
    return report.damage_count == 0 ? CLI_DONE : CLI_NO;
}

static int index_run(int argument_count, char **arguments)
{
    static const struct {
        const char *name;
        int (*run)(struct look *look, const char *folder);
    } actions[] = {{"rebuild", rebuild}, {"verify", verify}};
    const char *folder = argument_count > 1 ? arguments[1] : "data";
    struct look look = {0};

    for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++) {
        if (strcmp(arguments[0], actions[i].name) != 0)
            continue;
        look.writer = json_writer(&look.damages);
        json_write_array_begin(&look.writer);
        progress_begin(&look.progress, "events", 0, 0);
        int code = actions[i].run(&look, folder);
        buffer_deinit(&look.damages);
        return code;
    }
    return cli_error(CLI_USAGE, "there is no \"%s\": it is rebuild or verify", arguments[0]);
}

static const struct cli_option no_options[] = {{0}};

const struct cli_command cli_index = {
    .name = "index",
    .arguments = "rebuild|verify [DATA]",
    .help = "make the index of a data folder anew, or check it",
    .story = "The index (DATA/index) is derived from the log and may be deleted while the server is stopped: it is made again at\n"
             "the next start. `rebuild` does so at once, with the server stopped, and gives the same bytes. `verify` holds it\n"
             "against the log, event by event, also while the server runs; exit code 1 when there is damage.",
    .options = no_options,
    .argument_count_min = 1,
    .argument_count_max = 2,
    .run = index_run,
};
