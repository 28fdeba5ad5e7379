/* daybook verify: read a whole data folder and say what is damaged, with file and offset. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "cli.h"
#include "journal/tools.h"
#include "progress.h"

struct verify {
    struct progress progress;
    struct buffer damages; /* JSON */
    struct json_writer writer;
};

static void on_progress(void *user, uint64_t done, uint64_t total)
{
    struct verify *verify = user;

    verify->progress.total = total;
    progress_set(&verify->progress, done);
}

static void on_damage(void *user, const struct file_log_damage *damage)
{
    struct verify *verify = user;
    struct json_writer *w = &verify->writer;

    if (cli_json) {
        json_write_object_begin(w);
        json_write_member_string(w, "file", damage->file);
        json_write_member_u64(w, "offset", damage->offset);
        json_write_member_u64(w, "position", damage->position);
        json_write_member_bool(w, "acknowledged", damage->acknowledged);
        json_write_member_string(w, "what", damage->what);
        json_write_object_end(w);
        return;
    }
    progress_end(&verify->progress);
    printf("%s at byte %" PRIu64 ": %s", damage->file, damage->offset, damage->what);
    if (damage->position > 0)
        printf(" (position %" PRIu64 "%s)", damage->position, damage->acknowledged ? ", acknowledged" : "");
    putchar('\n');
}

static void print_report(struct verify *verify, const struct journal_verify_report *report)
{
    if (cli_json) {
        json_write_array_end(&verify->writer);
        if (json_write_end(&verify->writer) == 0)
            printf("{\"head\":%" PRIu64 ",\"events\":%" PRIu64 ",\"appends\":%" PRIu64 ",\"streams\":%" PRIu64
                   ",\"segments\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"damage_count\":%zu,\"damages\":%.*s}\n",
                   report->log.head, report->events, report->appends, report->streams, report->log.segments,
                   report->log.bytes, report->log.damage_count, BYTES_PRINT(buffer_bytes(&verify->damages)));
        return;
    }
    printf("%s: %" PRIu64 " events in %" PRIu64 " appends, up to position %" PRIu64 "\n",
           report->log.damage_count == 0 ? "whole" : "damaged", report->events, report->appends, report->log.head);
}

static int verify_run(int argument_count, char **arguments)
{
    const char *folder = argument_count > 0 ? arguments[0] : "data";
    struct verify verify = {0};
    struct journal_verify_report report;
    char error[256] = "";
    int code = CLI_DONE;

    verify.writer = json_writer(&verify.damages);
    json_write_array_begin(&verify.writer);
    progress_begin(&verify.progress, "bytes", 0, 0);
    int r = journal_verify(folder, on_damage, on_progress, &verify, &report, error);
    progress_end(&verify.progress);
    if (r != 0) {
        code = cli_error(CLI_FAILED, "%s", error[0] ? error : strerror(r < 0 ? -r : EIO));
    } else {
        print_report(&verify, &report);
        code = report.log.damage_count == 0 ? CLI_DONE : CLI_NO;
    }
    buffer_deinit(&verify.damages);
    return code;
}

static const struct cli_option no_options[] = {{0}};

const struct cli_command cli_verify = {
    .name = "verify",
    .arguments = "[DATA]",
    .help = "read a whole data folder and name what is damaged",
    .story = "Checks every checksum, the chain over all records and the rules of events; changes nothing, and the server may\n"
             "go on meanwhile. Exit code 1 when there is damage.",
    .options = no_options,
    .offline = true,
    .argument_count_max = 1,
    .run = verify_run,
};
