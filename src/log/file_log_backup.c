/*
 * A copy of a log that may be written to meanwhile, and what is added to it the next time. The source is opened as any
 * reader in another process would, so that what is copied is durable.
 *
 * log.head is written first: from then on the copy is a log, an empty one at the beginning, that grows by whole segments
 * (C1). What was cut short is therefore a copy up to an earlier position, and the next backup goes on there.
 */
#include <stdarg.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "log/file_log_copy.h"

/* A last segment smaller than this is copied again together with what follows it, so that many small backups do not
 * become as many small files. */
#define BACKUP_MERGE_SIZE ((uint64_t)1 << 20)

struct backup {
    struct copy copy; /* to the target */
    const char *source;
    int lock_file;
    struct file_log *target; /* opened for reading; NULL: not yet */
};

_printf_(3, 4) static int refuse(struct backup *backup, int answer, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(backup->copy.error, ERROR_SIZE, format, arguments);
    va_end(arguments);
    return answer;
}

static int list_target(struct backup *backup, struct buffer *names, struct folder_content *ret_content)
{
    int r = backup->copy.ops->list(backup->copy.ops, backup->copy.folder, names);

    *ret_content = file_log_look_into(names);
    if (r < 0)
        return r;
    if (ret_content->foreign || ret_content->restoring || (ret_content->segments && !ret_content->head))
        return refuse(backup, FILE_LOG_E_EXISTS,
                      "%.150s holds something that is no backup: a backup goes into a folder of its own",
                      backup->copy.folder);
    return 0;
}

/* One backup at a time, and no server on the copy meanwhile. */
static int lock_target(struct backup *backup)
{
    const struct os_file_ops *ops = backup->copy.ops;
    char path[OS_PATH_SIZE_MAX];
    int r = os_path(path, backup->copy.folder, FILE_LOG_LOCK_NAME);

    if (r == 0)
        r = ops->open(ops, path, OS_FILE_WRITE | OS_FILE_CREATE, &backup->lock_file);
    if (r == 0)
        r = ops->lock(ops, backup->lock_file);
    if (r == OS_FILE_E_LOCKED)
        return refuse(backup, FILE_LOG_E_LOCKED, "another process writes to %.150s: only one may",
                      backup->copy.folder);
    return r;
}

/* The target is a copy of this very log, whole, and nobody has written to it; then it ends somewhere in ours. */
static int check_target(struct backup *backup)
{
    const struct file_log *from = backup->copy.from, *target = backup->target;
    const char *folder = backup->copy.folder;
    struct log_chain chain;
    int r;

    if (target->damaged)
        return refuse(backup, -EBADMSG, "%s", target->reason);
    if (!(target->head.flags & FORMAT_HEAD_COPY))
        return refuse(backup, FILE_LOG_E_EXISTS,
                      "%.150s is a log of its own, not a backup: a backup goes into a folder of its own", folder);
    if (memcmp(target->head.id, from->head.id, LOG_ID_SIZE) != 0 ||
        memcmp(target->head.key, from->head.key, FORMAT_KEY_SIZE) != 0)
        return refuse(backup, FILE_LOG_E_DIVERGED,
                      "%.150s is the backup of another journal: this one needs a folder of its own", folder);
    if (target->durable > from->durable)
        return refuse(backup, FILE_LOG_E_DIVERGED,
                      "%.150s goes to position %llu, but the journal only to %llu: it is not what was backed up",
                      folder, (unsigned long long)target->durable, (unsigned long long)from->durable);
    r = file_log_chain_at(&backup->copy.from->log, target->durable, &chain);
    if (r == 0 && memcmp(chain.bytes, target->chain_durable.bytes, LOG_CHAIN_SIZE) != 0)
        return refuse(backup, FILE_LOG_E_DIVERGED,
                      "%.150s holds other records up to position %llu than the journal: they have parted", folder,
                      (unsigned long long)target->durable);
    return r > 0 ? -EBADMSG : r;
}

/* How large the target's last segment is on the disk, what vouches for it included. */
static int measure_last(struct backup *backup, uint64_t first, uint64_t *ret_size)
{
    const struct os_file_ops *ops = backup->copy.ops;
    int file, r = segment_open(backup->target, first, OS_FILE_READ, &file);

    if (r < 0)
        return r;
    r = ops->size(ops, file, ret_size);
    (void)ops->close(ops, file);
    return r;
}

/* Where the copy goes on: behind the target's last record, or at the beginning of its last segment if that is small and
 * its other records stand in the same segment of ours. */
static int find_place(struct backup *backup)
{
    struct copy *copy = &backup->copy;
    const struct file_log *from = copy->from, *target = backup->target;
    size_t count = target->segment_count;
    uint64_t size;
    int r;

    copy->last = copy->report.head_before = target->durable;
    copy->chain = target->chain_durable;
    if (count == 0 || target->durable == from->durable)
        return 0;
    r = measure_last(backup, target->segments[count - 1].first, &size);
    if (r < 0)
        return r;
    if (size < BACKUP_MERGE_SIZE && from->segments[segment_index(from, copy->last + 1)].first <= copy->last) {
        copy->last = target->segments[count - 1].first - 1;
        count--;
        r = file_log_chain_at(&copy->from->log, copy->last, &copy->chain);
        if (r != 0)
            return r < 0 ? r : -EBADMSG;
        size = count > 0 ? target->segments[count - 1].size : 0;
    }
    copy->previous_first = count > 0 ? target->segments[count - 1].first : 0;
    copy->previous_size = size * (count > 0);
    return 0;
}

static int open_target(struct backup *backup)
{
    struct file_log_options options = {.file = backup->copy.ops, .read_only = true};
    struct log *log;
    int r = file_log_open(backup->copy.folder, &options, &log, backup->copy.error);

    if (r == 0)
        backup->target = file_log_of(log);
    return r;
}

static int prepare_target(struct backup *backup)
{
    _cleanup_(buffer_deinit) struct buffer names = {0};
    struct format_head head = backup->copy.from->head;
    const struct os_file_ops *ops = backup->copy.ops;
    struct folder_content content;
    int r = ops->make_folder(ops, backup->copy.folder);

    if (r == 0)
        r = list_target(backup, &names, &content);
    if (r == 0)
        r = lock_target(backup);
    buffer_clear(&names);
    if (r == 0)
        r = list_target(backup, &names, &content);
    if (r == 0)
        r = file_log_remove_names(ops, backup->copy.folder, &names, false);
    if (r == 0 && content.head)
        r = ops->sync_folder(ops, backup->copy.folder); /* names may be no more than remembered (P7) */
    head.flags |= FORMAT_HEAD_COPY;
    if (r == 0 && !content.head)
        r = file_log_put_head(ops, backup->copy.folder, &head);
    if (r == 0)
        r = open_target(backup);
    if (r == 0)
        r = check_target(backup);
    return r == 0 ? find_place(backup) : r;
}

static int run_backup(struct backup *backup)
{
    struct copy *copy = &backup->copy;
    int r;

    if (copy->from->damaged)
        return refuse(backup, -EBADMSG, "%s", copy->from->reason);
    r = prepare_target(backup);
    if (r == 0)
        r = file_log_copy(copy);
    if (r < 0 && copy->error[0] == '\0')
        (void)refuse(backup, r, "the copy in %.150s is not complete: %s; the same call again goes on from there",
                     copy->folder, strerrordesc_np(-r));
    return r;
}

int file_log_backup(const char *source, const char *target, const struct os_file_ops *file,
                    void (*on_progress)(void *user, uint64_t done, uint64_t total), void *user,
                    struct file_log_copied *ret_copied, char *ret_error)
{
    struct file_log_options options = {.file = file, .read_only = true};
    struct backup backup = {
        .copy = {.folder = target, .until = UINT64_MAX, .on_progress = on_progress, .user = user},
        .lock_file = -1};
    struct log *log;
    int r = file_log_open(source, &options, &log, ret_error);

    if (r != 0)
        return r;
    backup.copy.from = file_log_of(log);
    backup.copy.ops = backup.copy.from->ops;
    r = run_backup(&backup);
    if (r == 0)
        *ret_copied = backup.copy.report;
    else if (ret_error)
        memcpy(ret_error, backup.copy.error, ERROR_SIZE);
    if (backup.target)
        (void)log_close(&backup.target->log);
    if (backup.lock_file >= 0)
        (void)backup.copy.ops->close(backup.copy.ops, backup.lock_file);
    (void)log_close(log);
    return r;
}
