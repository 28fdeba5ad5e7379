/*
 * A copy of a log that may be written to meanwhile. The source is opened as any reader in another process would, so that
 * what is copied is durable, and only segments below that head are touched. log.head is written last: a copy that was
 * cut short cannot be mistaken for a whole one.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "log/file_log_internal.h"

#define COPY_STEP_SIZE ((size_t)1 << 20)

struct backup {
    struct file_log *log;
    const struct os_file_ops *ops;
    const char *target;
    struct buffer step;
    uint64_t done, total;
    void (*on_progress)(void *user, uint64_t done, uint64_t total);
    void *user;
};

static int copy_bytes(struct backup *backup, int from, int to, uint64_t size)
{
    uint64_t offset = 0;

    while (offset < size) {
        size_t step = size - offset < COPY_STEP_SIZE ? (size_t)(size - offset) : COPY_STEP_SIZE, got;
        int r = os_file_read_full(backup->ops, from, backup->step.data, step, offset, &got);

        if (r == 0 && got != step)
            r = -EBADMSG;
        if (r == 0)
            r = os_file_write_full(backup->ops, to, backup->step.data, step, offset);
        if (r < 0)
            return r;
        offset += step;
        backup->done += step;
        if (backup->on_progress)
            backup->on_progress(backup->user, backup->done, backup->total);
    }
    return 0;
}

static int copy_segment(struct backup *backup, const struct segment *segment)
{
    const struct os_file_ops *ops = backup->ops;
    char name[SEGMENT_NAME_SIZE], path[OS_PATH_SIZE_MAX];
    int from, to, r, closed;

    segment_name(segment->first, name);
    r = os_path(path, backup->target, name);
    if (r == 0)
        r = segment_open(backup->log, segment->first, OS_FILE_READ, &from);
    if (r < 0)
        return r;
    r = ops->open(ops, path, OS_FILE_WRITE | OS_FILE_CREATE | OS_FILE_TRUNCATE, &to);
    if (r == 0) {
        r = copy_bytes(backup, from, to, segment->size);
        if (r == 0)
            r = ops->sync(ops, to);
        closed = ops->close(ops, to);
        r = error_first(r, closed);
    }
    (void)ops->close(ops, from);
    return r;
}

static int copy_all(struct backup *backup)
{
    struct format_head head = backup->log->head;
    uint8_t data[FORMAT_HEAD_SIZE];
    int r = buffer_reserve(&backup->step, COPY_STEP_SIZE);

    for (size_t i = 0; r == 0 && i < backup->log->segment_count; i++)
        r = copy_segment(backup, &backup->log->segments[i]);
    if (r < 0)
        return r;
    head.flags |= FORMAT_HEAD_COPY;
    format_put_head(&head, data);
    r = os_file_replace(backup->ops, backup->target, "log.head", bytes_make(data, sizeof(data)));
    return r == 0 ? file_log_sync_parent(backup->ops, backup->target) : r;
}

/* 0, FILE_LOG_E_EXISTS or -errno. */
static int prepare_target(const struct os_file_ops *ops, const char *target, char *error)
{
    _cleanup_(buffer_deinit) struct buffer names = {0};
    int r = ops->make_folder(ops, target);

    if (r == 0)
        r = ops->list(ops, target, &names);
    if (r < 0)
        (void)snprintf(error, ERROR_SIZE, "%s cannot be made: %s", target, strerrordesc_np(-r));
    if (r == 0 && names.size > 0) {
        (void)snprintf(error, ERROR_SIZE, "%s is not empty: a backup goes into a folder of its own", target);
        return FILE_LOG_E_EXISTS;
    }
    return r;
}

static int run_backup(struct backup *backup, char *error)
{
    int r;

    if (backup->log->damaged) {
        (void)snprintf(error, ERROR_SIZE, "%s", backup->log->reason);
        return -EBADMSG;
    }
    r = prepare_target(backup->ops, backup->target, error);
    if (r != 0)
        return r;
    for (size_t i = 0; i < backup->log->segment_count; i++)
        backup->total += backup->log->segments[i].size;
    r = copy_all(backup);
    if (r < 0)
        (void)snprintf(error, ERROR_SIZE, "the copy in %s is not complete: %s", backup->target,
                       strerrordesc_np(-r));
    return r;
}

int file_log_backup(const char *source, const char *target, const struct os_file_ops *file,
                    void (*on_progress)(void *user, uint64_t done, uint64_t total), void *user,
                    uint64_t *ret_head, char *ret_error)
{
    struct file_log_options options = {.file = file, .read_only = true};
    struct backup backup = {.target = target, .on_progress = on_progress, .user = user};
    char error[ERROR_SIZE] = "";
    struct log *log;
    int r;

    r = file_log_open(source, &options, &log, ret_error);
    if (r != 0)
        return r;
    backup.log = file_log_of(log);
    backup.ops = backup.log->ops;
    r = run_backup(&backup, error);
    if (r == 0)
        *ret_head = backup.log->durable;
    else if (ret_error)
        memcpy(ret_error, error, sizeof(error));
    buffer_deinit(&backup.step);
    (void)log_close(log);
    return r;
}
