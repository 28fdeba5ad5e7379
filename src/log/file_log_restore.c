/*
 * A new log from a backup, or from a log in use, cut after the last whole append at or before a position.
 *
 * Unlike a backup, a restored log must not be taken for whole before it is: whoever serves it would go on from a past that
 * nobody asked for. So log.head is written last, and a mark says meanwhile what the segments without one are.
 */
#include <stdio.h>

#include "base/cleanup.h"
#include "log/file_log_copy.h"
#include "os/clock.h"
#include "os/random.h"

static int refuse_folder(struct copy *copy)
{
    (void)snprintf(copy->error, ERROR_SIZE,
                   "%.150s holds something: a restore makes a new folder and replaces none", copy->folder);
    return FILE_LOG_E_EXISTS;
}

/* Empty, or what an interrupted restore has left, which goes. */
static int prepare_folder(struct copy *copy)
{
    _cleanup_(buffer_deinit) struct buffer names = {0};
    const struct os_file_ops *ops = copy->ops;
    struct folder_content content;
    int r = ops->make_folder(ops, copy->folder);

    if (r == 0)
        r = ops->list(ops, copy->folder, &names);
    if (r < 0)
        return r;
    content = file_log_look_into(&names);
    if (content.head || content.foreign || (content.segments && !content.restoring))
        return refuse_folder(copy);
    r = file_log_remove_names(ops, copy->folder, &names, true);
    return r == 0 ? os_file_replace(ops, copy->folder, COPY_RESTORE_MARK, bytes_make("", 0)) : r;
}

static int finish_folder(struct copy *copy)
{
    struct format_head head = copy->from->head;
    char path[OS_PATH_SIZE_MAX];
    int r = os_random(head.id, LOG_ID_SIZE);

    head.flags &= ~(uint32_t)FORMAT_HEAD_COPY;
    head.created_us = os_realtime_us();
    if (r == 0)
        r = os_path(path, copy->folder, COPY_RESTORE_MARK);
    if (r == 0)
        r = os_file_replace(copy->ops, copy->folder, COPY_MADE_MARK, bytes_make("", 0));
    if (r == 0)
        r = file_log_put_head(copy->ops, copy->folder, &head);
    if (r == 0)
        (void)copy->ops->remove(copy->ops, path); /* beside a log.head it means nothing */
    return r;
}

/* Everything wanted can be read. */
static int check_source(struct copy *copy)
{
    const struct file_log *from = copy->from;

    if (!from->damaged || copy->until <= from->durable)
        return 0;
    (void)snprintf(copy->error, ERROR_SIZE, "%.180s. Up to position %llu it can be restored", from->reason,
                   (unsigned long long)from->durable);
    return -EBADMSG;
}

int file_log_restore(const char *source, const char *target, const struct os_file_ops *file, uint64_t until,
                     void (*on_progress)(void *user, uint64_t done, uint64_t total), void *user,
                     struct file_log_copied *ret_copied, char *ret_error)
{
    struct file_log_options options = {.file = file, .read_only = true};
    struct copy copy = {.folder = target, .until = until, .on_progress = on_progress, .user = user};
    struct log *log;
    int r = file_log_open(source, &options, &log, ret_error);

    if (r != 0)
        return r;
    copy.from = file_log_of(log);
    copy.ops = copy.from->ops;
    r = check_source(&copy);
    if (r == 0)
        r = prepare_folder(&copy);
    if (r == 0)
        r = file_log_copy(&copy);
    if (r == 0)
        r = finish_folder(&copy);
    if (r < 0 && copy.error[0] == '\0')
        (void)snprintf(copy.error, ERROR_SIZE, "%.150s is not restored: %s; the same call again begins anew", target,
                       strerrordesc_np(-r));
    if (r == 0)
        *ret_copied = copy.report;
    else if (ret_error)
        memcpy(ret_error, copy.error, ERROR_SIZE);
    (void)log_close(log);
    return r;
}
