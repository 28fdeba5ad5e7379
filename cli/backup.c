/* daybook backup and daybook restore: copy a data folder's journal, and make a data folder from a copy. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/time.h"
#include "cli.h"
#include "journal/tools.h"
#include "places.h"
#include "progress.h"

static const char *until_text;
static const char *fences_folder;

static void on_progress(void *user, uint64_t done, uint64_t total)
{
    struct progress *progress = user;

    progress->total = total;
    progress_set(progress, done);
}

/* 1 for what another call would answer again, 3 for what went wrong on the way. */
static int fail(int answer, const char *error)
{
    bool refused = answer == FILE_LOG_E_EXISTS || answer == FILE_LOG_E_DIVERGED || answer == FILE_LOG_E_LOCKED ||
                   answer == JOURNAL_TOOLS_E_KEYS;

    return cli_error(refused ? CLI_NO : CLI_FAILED, "%s",
                     error[0] ? error : strerror(answer < 0 ? -answer : EIO));
}

/* ---- backup ---- */

static void print_backup(const struct file_log_copied *copied, const char *target)
{
    char added[32], bytes[32];

    if (cli_json) {
        printf("{\"position\":%" PRIu64 ",\"position_before\":%" PRIu64 ",\"bytes\":%" PRIu64
               ",\"segments\":%" PRIu64 "}\n",
               copied->head, copied->head_before, copied->bytes, copied->segments);
        return;
    }
    if (copied->head == copied->head_before)
        printf("%s is at position %" PRIu64 ": nothing is new\n", target, copied->head);
    else
        printf("%s is at position %" PRIu64 ": %s events more, %s bytes written\n", target, copied->head,
               progress_number(copied->head - copied->head_before, added),
               progress_number(copied->bytes, bytes));
}

static int backup_run(int argument_count, char **arguments)
{
    struct file_log_copied copied = {0};
    struct progress progress;
    char error[256] = "";

    int code = cli_places_apart(arguments[0], arguments[1]);
    if (code != CLI_DONE)
        return code;
    progress_begin(&progress, "bytes", 0, 0);
    int r = journal_backup(arguments[0], arguments[1], on_progress, &progress, &copied, error);
    progress_end(&progress);
    if (r != 0)
        return fail(r, error);
    print_backup(&copied, arguments[1]);
    return CLI_DONE;
}

static const struct cli_option no_options[] = {{0}};

const struct cli_command cli_backup = {
    .name = "backup",
    .arguments = "DATA TARGET",
    .help = "copy a data folder's journal, or add what is new to an earlier copy",
    .story = "A server may go on writing meanwhile: what was acknowledged before the call is in the copy. TARGET is a "
             "new folder, or\n"
             "an earlier backup of the same journal, to which only what is new is added. It is whole at every moment, "
             "whatever is\n"
             "interrupted, and can be verified, restored from or served; once served it is a journal of its own and no "
             "backup.\n"
             "It and DATA must be apart: neither within the other.\n\n"
             "  daybook backup ./data /backup/hotel",
    .options = no_options,
    .offline = true,
    .argument_count_min = 2,
    .argument_count_max = 2,
    .run = backup_run,
};

/* ---- restore ---- */

/* --until POSITION|TIME */
static int read_until(struct journal_until *ret_until)
{
    struct journal_until until = {0};
    struct bytes text = bytes_from_string(until_text);
    int r = bytes_parse_u64(text, &until.position);

    if (r != 0) {
        until.by_time = true;
        r = time_parse(text, &until.time_us);
    }
    if (r != 0)
        return cli_error(CLI_USAGE,
                         "--until takes a position or a time like 2026-11-23T06:07:20Z (RFC 3339), not \"%s\"",
                         until_text);
    *ret_until = until;
    return CLI_DONE;
}

static void print_restore(const struct journal_restore_report *report, const char *folder)
{
    char time[TIME_TEXT_SIZE] = "", bytes[32];
    bool timed = report->copied.head > 0 && time_format(report->time_us, time) == 0;

    if (cli_json) {
        printf("{\"position\":%" PRIu64 ",\"source_position\":%" PRIu64 ",\"time\":%s%s%s,\"bytes\":%" PRIu64 "}\n",
               report->copied.head, report->source_head, timed ? "\"" : "", timed ? time : "null",
               timed ? "\"" : "", report->copied.bytes);
        return;
    }
    printf("%s holds positions 1 to %" PRIu64 " of %" PRIu64 "%s%s, %s bytes written. It is a journal of its own\n",
           folder, report->copied.head, report->source_head, timed ? ", the last of " : "", time,
           progress_number(report->copied.bytes, bytes));
}

static int restore_run(int argument_count, char **arguments)
{
    struct journal_restore_report report = {0};
    struct journal_until until;
    struct progress progress;
    char error[256] = "";
    int code = until_text ? read_until(&until) : CLI_DONE;

    if (code == CLI_DONE)
        code = cli_places_apart(arguments[0], arguments[1]);
    if (code == CLI_DONE && fences_folder && access(fences_folder, R_OK | X_OK) < 0)
        code = cli_error(CLI_FAILED, "cannot read the fences of %s: %s", fences_folder, strerror(errno));
    if (code == CLI_DONE && fences_folder)
        code = cli_places_apart(fences_folder, arguments[1]);
    if (code != CLI_DONE)
        return code;
    progress_begin(&progress, "bytes", 0, 0);
    int r = fences_folder ? journal_join_fences(fences_folder, arguments[1], error) : 0;
    if (r == 0)
        r = journal_restore(arguments[0], arguments[1], until_text ? &until : NULL, on_progress, &progress,
                                &report, error);
    progress_end(&progress);
    if (r != 0)
        return fail(r, error);
    print_restore(&report, arguments[1]);
    return CLI_DONE;
}

static const struct cli_option restore_options[] = {
    {"--until", "POS|TIME", "stop after the last whole append at or before this position or time (RFC 3339)",
     CLI_TEXT, &until_text, 0, 0},
    {"--fences", "DATA", "what was erased in this data folder since the backup stays erased", CLI_TEXT, &fences_folder,
     0, 0},
    {0},
};

const struct cli_command cli_restore = {
    .name = "restore",
    .arguments = "BACKUP DATA",
    .help = "make a new data folder from a backup, up to a position or a time",
    .story = "BACKUP may be any data folder, also one that is served. DATA must be empty or missing. Its journal has an "
             "id of its\n"
             "own: cursors and followers of the old one are told so (other-journal), and views are built anew.\n\n"
             "A backup made before an erasure still has the key: give --fences the folder that knows of it.\n\n"
             "  daybook restore /backup/hotel ./data --until 2026-11-23T06:00:00Z",
    .options = restore_options,
    .offline = true,
    .argument_count_min = 2,
    .argument_count_max = 2,
    .run = restore_run,
};
