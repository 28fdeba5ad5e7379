/* Making the index anew is what opening does when there is none, with the difference that all of it is on the disk in the
 * end. */

#include <stdlib.h>

#include "base/cleanup.h"
#include "journal/codec.h"
#include "journal/index_internal.h"
#include "journal/tools.h"
#include "journal/tools_internal.h"

enum { STEP = 4096 }; /* records between two looks at room and progress */

struct rebuild {
    struct os_rwlock lock;
    struct log *log;
    struct index *index;
    uint64_t head;
    journal_tools_progress *on_progress;
    void *user;
};

static int add_record(struct rebuild *rebuild, const struct log_record *record)
{
    struct codec_tags tags;
    struct journal_event event;
    if (codec_read(record, &tags, &event, NULL) != 0)
        return -EBADMSG;
    if (record->position % STEP == 0) {
        index_make_room(rebuild->index);
        if (rebuild->on_progress)
            rebuild->on_progress(rebuild->user, record->position, rebuild->head);
    }
    os_rwlock_write(&rebuild->lock);
    int r = index_add(rebuild->index, &event);
    os_rwlock_unlock(&rebuild->lock);
    return r;
}

static int add_all(struct rebuild *rebuild)
{
    _cleanup_(log_reader_freep) struct log_reader *reader = NULL;
    struct log_record record;
    int r = log_reader_new(rebuild->log, index_last(rebuild->index), &reader);
    while (r == 0 && (r = log_reader_next(reader, &record)) == 0)
        r = add_record(rebuild, &record);
    return r == LOG_E_END ? 0 : r;
}

/* Runs and left-overs; whatever else is there stays. */
static int remove_runs(const struct os_file_ops *ops, const char *folder)
{
    _cleanup_(buffer_deinit) struct buffer names = {0};
    int r = ops->list(ops, folder, &names);
    if (r == -ENOENT)
        return 0;
    for (size_t offset = 0; r == 0 && offset < names.size;) {
        const char *name = (const char *)names.data + offset;
        char path[OS_PATH_SIZE_MAX];
        uint64_t first, last;
        offset += strlen(name) + 1;
        if (!run_file_parse(name, &first, &last))
            continue;
        r = os_path(path, folder, name);
        if (r == 0)
            r = ops->remove(ops, path);
    }
    return r;
}

static int build(struct rebuild *rebuild, const struct index_options *options,
                 struct journal_index_report *ret_report)
{
    struct index_figures figures;
    int r = remove_runs(options->file, options->folder);
    if (r == 0)
        r = index_open(options, &rebuild->index);
    if (r == 0)
        r = index_start(rebuild->index);
    if (r == 0)
        r = add_all(rebuild);
    if (r == 0)
        r = index_settle(rebuild->index);
    if (r == 0) {
        index_figures(rebuild->index, &figures);
        *ret_report = (struct journal_index_report){.events = index_last(rebuild->index),
                                                    .runs = figures.runs,
                                                    .bytes = figures.runs_bytes,
                                                    .checkpoint = figures.checkpoint};
    }
    index_free(rebuild->index);
    return r;
}

int journal_rebuild_index(const char *data_folder, const struct journal_index_options *options,
                          journal_tools_progress *on_progress, void *user, struct journal_index_report *ret_report,
                          char *ret_error)
{
    struct rebuild rebuild = {.on_progress = on_progress, .user = user};
    char log_folder[OS_PATH_SIZE_MAX], folder[OS_PATH_SIZE_MAX];
    struct file_log_options log_options = {.file = options ? options->file : NULL};
    struct log_status status;
    int r = tools_find_log(data_folder, log_folder);
    if (r == 0)
        r = tools_find_index(data_folder, folder);
    if (r < 0)
        return tools_fail(ret_error, r, "cannot use the path", data_folder);
    r = file_log_open(log_folder, &log_options, &rebuild.log, ret_error);
    if (r != 0)
        return r;
    log_status(rebuild.log, &status);
    rebuild.head = status.head;
    os_rwlock_init(&rebuild.lock);
    struct index_options wanted = {.file = options && options->file ? options->file : os_file_real(),
                                   .folder = folder,
                                   .log = rebuild.log,
                                   .lock = &rebuild.lock,
                                   .unit = options ? options->unit : 0};
    r = build(&rebuild, &wanted, ret_report);
    os_rwlock_deinit(&rebuild.lock);
    (void)log_close(rebuild.log);
    return r < 0 ? tools_fail(ret_error, r, "cannot make the index", folder) : r;
}
