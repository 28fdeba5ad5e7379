/* daybook backup: copy a data folder's journal while it is being written to. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "cli.h"
#include "journal/tools.h"
#include "progress.h"

static const char *data_folder = "data";

static void on_progress(void *user, uint64_t done, uint64_t total)
{
    struct progress *progress = user;

    progress->total = total;
    progress_set(progress, done);
}

static int backup_run(int argument_count, char **arguments)
{
    struct progress progress;
    char error[256] = "";
    uint64_t head = 0;

    progress_begin(&progress, "bytes", 0, 0);
    int r = journal_backup(data_folder, arguments[0], on_progress, &progress, &head, error);
    progress_end(&progress);
    if (r != 0)
        return cli_error(r == FILE_LOG_E_EXISTS ? CLI_NO : CLI_FAILED, "%s",
                         error[0] ? error : strerror(r < 0 ? -r : EIO));
    if (cli_json)
        printf("{\"position\":%" PRIu64 "}\n", head);
    else
        printf("copied up to position %" PRIu64 " into %s\n", head, arguments[0]);
    return CLI_DONE;
}

static const struct cli_option options[] = {
    {"--data", "DIR", "the data folder to copy (./data)", CLI_TEXT, &data_folder, 0, 0},
    {0},
};

const struct cli_command cli_backup = {
    .name = "backup",
    .arguments = "TARGET",
    .help = "copy a data folder's journal, also while a server writes to it",
    .story = "What was acknowledged before it began is in the copy. TARGET is a new data folder that can be served; the\n"
             "first server on it gives it a journal id of its own.\n\n"
             "  daybook backup --data ./data /backup/monday",
    .options = options,
    .argument_count_min = 1,
    .argument_count_max = 1,
    .run = backup_run,
};
