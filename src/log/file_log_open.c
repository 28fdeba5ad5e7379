/* Opening and closing the folder, and what the log says about itself. */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "log/file_log_copy.h"
#include "os/failure.h"
#include "os/clock.h"
#include "os/random.h"

#define HEAD_NAME      "log.head"
#define ZERO_STEP_SIZE ((size_t)64 << 10)

/* ---- state ---- */

void file_log_note_damage(struct file_log *log, uint64_t segment_first, uint64_t offset, const char *what)
{
    char name[SEGMENT_NAME_SIZE];

    if (log->damaged)
        return;
    segment_name(segment_first, name);
    log->damaged = true;
    log->writable = false;
    (void)snprintf(
        log->reason, sizeof(log->reason),
        "%s is damaged at byte %llu: %s. What lies before can be read; restore the rest from a backup or a "
        "follower",
        name, (unsigned long long)offset, what);
    if (log->options.on_damage)
        log->options.on_damage(log->options.user, log->reason);
}

static uint64_t size_on_disk(const struct file_log *log)
{
    uint64_t size = FORMAT_HEAD_SIZE;

    for (size_t i = 0; i < log->segment_count; i++)
        size += log->segments[i].size;
    return size;
}

static void status(struct log *base, struct log_status *ret_status)
{
    struct file_log *log = file_log_of(base);
    struct log_status status = {0};

    _os_locked_(&log->mutex);
    if (log->options.read_only)
        (void)file_log_refresh(log);
    memcpy(status.id, log->head.id, sizeof(status.id));
    memcpy(status.key, log->head.key, sizeof(status.key));
    memcpy(status.reason, log->reason, sizeof(status.reason));
    status.epoch = log->epoch;
    status.head = log->durable;
    status.first = log->segment_count ? log->segments[0].first : 1;
    status.size_bytes = size_on_disk(log);
    status.writable = log->writable;
    status.damaged = log->damaged;
    status.incomplete = log->incomplete;
    status.copied = log->copied;
    *ret_status = status;
}

static void counters(struct log *base, struct log_counters *ret_counters)
{
    struct file_log *log = file_log_of(base);

    _os_locked_(&log->mutex);
    *ret_counters = log->counters;
}

/* ---- closing ---- */

static void free_log(struct file_log *log)
{
    if (log->file >= 0)
        (void)log->ops->close(log->ops, log->file);
    file_log_page_end(log);
    if (log->lock_file >= 0)
        (void)log->ops->close(log->ops, log->lock_file);
    segment_close_files(log);
    segments_drop(log, 0);
    free(log->segments);
    free(log->folder);
    os_cond_deinit(&log->scrub_wanted);
    os_cond_deinit(&log->changed);
    os_mutex_deinit(&log->mutex);
    os_mutex_deinit(&log->tell_mutex);
    free(log);
}

DEFINE_CLEANUP(struct file_log *, free_log)

static int close_log(struct log *base)
{
    struct file_log *log = file_log_of(base);

    file_log_stop_scrub(log);
    if (log->thread.started)
        file_log_stop_writer(log);
    free_log(log);
    return 0;
}

static int settle(struct log *base)
{
    struct file_log *log = file_log_of(base);
    char path[OS_PATH_SIZE_MAX];
    int r = os_path(path, log->folder, COPY_MADE_MARK);

    if (r == 0)
        r = log->ops->remove(log->ops, path);
    if (r < 0 && r != -ENOENT)
        return r; /* one that comes back after a crash is settled once more: no sync */
    _os_locked_(&log->mutex);
    log->copied = false;
    return 0;
}

static uint64_t synced(struct log *base)
{
    struct file_log *log = file_log_of(base);
    _os_locked_(&log->mutex);

    return log->options.durability == LOG_ASYNC && !log->options.read_only ? log->synced : UINT64_MAX;
}

static void on_synced(struct log *base, void (*moved)(void *user), void *user)
{
    struct file_log *log = file_log_of(base);
    _os_locked_(&log->tell_mutex);

    log->tell = moved;
    log->tell_user = user;
}

static const struct log_ops file_log_ops = {
    .name = "file",
    .append = file_log_append,
    .reader_new = file_log_reader_new,
    .replace = file_log_replace,
    .status = status,
    .counters = counters,
    .chain_at = file_log_chain_at,
    .settle = settle,
    .synced = synced,
    .on_synced = on_synced,
    .close = close_log,
};

/* ---- opening ---- */

/* Writes the sentence for the caller and answers `answer`. */
_printf_(3, 4) static int explain(char *error, int answer, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(error, ERROR_SIZE, format, arguments);
    va_end(arguments);
    return answer;
}

static int take_lock(struct file_log *log, char *error)
{
    char path[OS_PATH_SIZE_MAX];
    int r = os_path(path, log->folder, FILE_LOG_LOCK_NAME);

    if (r == 0)
        r = log->ops->open(log->ops, path, OS_FILE_WRITE | OS_FILE_CREATE, &log->lock_file);
    if (r < 0)
        return r;
    r = log->ops->lock(log->ops, log->lock_file);
    if (r == OS_FILE_E_LOCKED)
        return explain(error, FILE_LOG_E_LOCKED,
                       "another process writes to %s: only one may; stop it, or open the log for reading",
                       log->folder);
    return r;
}

static int write_head(struct file_log *log)
{
    uint8_t data[FORMAT_HEAD_SIZE];

    format_put_head(&log->head, data);
    return os_file_replace(log->ops, log->folder, HEAD_NAME, bytes_make(data, sizeof(data)));
}

/* A new log: id and key are made or taken from the options. */
static int make_head(struct file_log *log)
{
    const struct file_log_options *options = &log->options;
    int r = 0;

    log->head.created_us = os_realtime_us();
    if (options->id)
        memcpy(log->head.id, options->id, LOG_ID_SIZE);
    else
        r = os_random(log->head.id, LOG_ID_SIZE);
    if (options->key)
        memcpy(log->head.key, options->key, FORMAT_KEY_SIZE);
    else if (r == 0)
        r = os_random(log->head.key, FORMAT_KEY_SIZE);
    if (r == 0)
        r = write_head(log);
    return r == 0 ? os_file_sync_parent(log->ops, log->folder) : r;
}

/* A backup becomes a log of its own with the first writer that opens it. The mark stands before the bit goes. */
static int leave_copy(struct file_log *log)
{
    int r = os_random(log->head.id, LOG_ID_SIZE);

    if (r == 0)
        r = os_file_replace(log->ops, log->folder, COPY_MADE_MARK, bytes_make("", 0));
    if (r < 0)
        return r;
    log->copied = true;
    log->head.flags &= ~(uint32_t)FORMAT_HEAD_COPY;
    return write_head(log);
}

static bool has_segments(const struct buffer *names)
{
    for (size_t offset = 0; offset < names->size;) {
        struct bytes name = bytes_from_string((const char *)names->data + offset);

        if (name.size > 4 && bytes_equal_string(bytes_slice(name, name.size - 4, 4), ".seg"))
            return true;
        offset += name.size + 1;
    }
    return false;
}

static int read_head(struct file_log *log, const struct buffer *names, char *error)
{
    _cleanup_(buffer_deinit) struct buffer content = {.size_max = (size_t)1 << 20};
    char path[OS_PATH_SIZE_MAX];
    int r = os_path(path, log->folder, HEAD_NAME);

    if (r == 0)
        r = os_file_read_whole(log->ops, path, &content);
    if (r == -ENOENT && file_log_look_into(names).restoring)
        return explain(error, FILE_LOG_E_DAMAGED,
                       "the restore into %s was interrupted: do it again, or remove the folder", log->folder);
    if (r == -ENOENT && has_segments(names))
        return explain(error, FILE_LOG_E_DAMAGED,
                       "%s has segments but no " HEAD_NAME ": restore that file from a backup", log->folder);
    if (r == -ENOENT && log->options.read_only)
        return explain(error, FILE_LOG_E_MISSING, "there is no log in %s", log->folder);
    if (r == -ENOENT)
        return make_head(log);
    if (r < 0)
        return r;
    r = format_get_head(buffer_bytes(&content), &log->head);
    if (r == FORMAT_E_NEWER)
        return explain(error, FILE_LOG_E_NEWER,
                       HEAD_NAME " is of a newer format than this daybook can read (format %d)",
                       FORMAT_VERSION);
    if (r == FORMAT_E_INVALID)
        return explain(error, FILE_LOG_E_DAMAGED, HEAD_NAME " is damaged: restore that file from a backup");
    return log->head.flags & FORMAT_HEAD_COPY && !log->options.read_only ? leave_copy(log) : 0;
}

/* Leftovers of a crash. Failing to remove one is no harm: whoever needs the name overwrites it. */
static void remove_temporaries(struct file_log *log, const struct buffer *names)
{
    for (size_t offset = 0; offset < names->size;) {
        const char *name = (const char *)names->data + offset;
        size_t size = strlen(name);
        char path[OS_PATH_SIZE_MAX];

        if (size > 4 && strcmp(name + size - 4, ".tmp") == 0 && os_path(path, log->folder, name) == 0)
            (void)log->ops->remove(log->ops, path);
        offset += size + 1;
    }
}

/* ---- making the last segment fit to be written: steps 4 and 5 of docs/formats/log.md ---- */

/* F2: zeros from `from` to `to`. */
static int write_zeros(struct file_log *log, uint64_t from, uint64_t to)
{
    static const uint8_t zeros[ZERO_STEP_SIZE];

    while (from < to) {
        size_t size = to - from < sizeof(zeros) ? (size_t)(to - from) : sizeof(zeros);
        int r = os_file_write_full(log->ops, log->file, zeros, size, from);

        if (r < 0)
            return r;
        from += size;
    }
    return 0;
}

/* P7: the same bytes once more, so that the sync that follows speaks of the disk and not of the page cache. */
static int rewrite(struct file_log *log, uint64_t from, uint64_t to)
{
    _cleanup_(buffer_deinit) struct buffer bytes = {.size_max = SIZE_MAX};
    uint8_t *data;
    size_t size;
    int r;

    if (from == to)
        return 0;
    r = buffer_extend(&bytes, (size_t)(to - from), &data);
    if (r < 0)
        return r;
    r = os_file_read_full(log->ops, log->file, data, bytes.size, from, &size);
    if (r == 0 && size != bytes.size)
        r = -EIO;
    return r < 0 ? r : os_file_write_full(log->ops, log->file, data, size, from);
}

static int repair(struct file_log *log, const struct scan *scan)
{
    const struct segment *last = &log->segments[log->segment_count - 1];
    _cleanup_(walk_deinit) struct walk walk = {0};
    uint64_t end;
    int r;

    r = segment_open(log, last->first, OS_FILE_WRITE, &log->file);
    if (r == 0)
        r = log->ops->size(log->ops, log->file, &log->allocated);
    if (r < 0)
        return r;
    walk_init(&walk, log->ops, log->file, log->seed);
    walk.offset = log->end;
    walk.limit = log->allocated;
    r = walk_find_end(&walk, &end);
    if (r == 0)
        r = write_zeros(log, log->end, end);
    if (r == 0)
        r = rewrite(log, scan->floor_end, log->end);
    if (r == 0 && (end > log->end || scan->floor_end < log->end))
        r = log->ops->sync(log->ops, log->file);
    return r;
}

static int start_writing(struct file_log *log, const struct scan *scan)
{
    int r = log->ops->sync_folder(log->ops, log->folder); /* P7: names, too, may be no more than remembered */

    if (r == 0 && log->segment_count > 0)
        r = repair(log, scan);
    if (r < 0)
        return r;
    log->epoch++;
    log->writable = true;
    r = file_log_write_floor(log);
    if (r < 0 && !log->writable)
        return r; /* its sync failed. That there was no room for it is no harm */
    file_log_page_begin(log);
    r = file_log_start_scrub(log);
    if (r < 0)
        return r;
    r = file_log_start_writer(log);
    if (r < 0)
        file_log_stop_scrub(log);
    return r;
}

/* ---- */

static int check_options(const struct file_log_options *options, char *error)
{
    if (options->segment_size < SEGMENT_SIZE_MIN || options->segment_size > SEGMENT_SIZE_MAX)
        return explain(error, -EINVAL, "a segment has 64 KiB to 4 GiB");
    return 0;
}

static int new_log(const char *folder, const struct file_log_options *options, struct file_log **ret_log)
{
    struct file_log *log = calloc(1, sizeof(*log));

    if (!log)
        return -ENOMEM;
    log->folder = strdup(folder);
    if (!log->folder) {
        free(log);
        return -ENOMEM;
    }
    log->log.ops = &file_log_ops;
    log->options = *options;
    if (log->options.segment_size == 0)
        log->options.segment_size = SEGMENT_SIZE_DEFAULT;
    if (log->options.idle_floor_ms == 0)
        log->options.idle_floor_ms = IDLE_FLOOR_MS_DEFAULT;
    log->ops = options->file ? options->file : os_file_real();
    log->lock_file = log->file = log->page_file = -1;
    os_mutex_init(&log->mutex);
    os_mutex_init(&log->tell_mutex);
    os_cond_init(&log->changed);
    os_cond_init(&log->scrub_wanted);
    *ret_log = log;
    return 0;
}

static int open_folder(struct file_log *log, char *error)
{
    _cleanup_(buffer_deinit) struct buffer names = {0};
    bool read_only = log->options.read_only;
    struct scan scan;
    int r = check_options(&log->options, error);

    if (r == 0 && !read_only)
        r = log->ops->make_folder(log->ops, log->folder);
    if (r == 0 && !read_only)
        r = take_lock(log, error);
    if (r == 0)
        r = log->ops->list(log->ops, log->folder, &names);
    if (r == -ENOENT && read_only)
        return explain(error, FILE_LOG_E_MISSING, "there is no folder %s", log->folder);
    log->copied = r == 0 && file_log_look_into(&names).copied;
    if (r == 0)
        r = read_head(log, &names, error);
    if (r != 0)
        return r;
    log->seed = format_seed(log->head.key);
    r = file_log_recover(log, &names, &scan, error);
    if (r != 0)
        return r;
    if (read_only && !log->damaged)
        (void)explain(log->reason, 0, "the log was opened for reading");
    if (read_only && !log->damaged)
        return file_log_refresh(log);
    if (log->damaged)
        return 0;
    remove_temporaries(log, &names);
    return start_writing(log, &scan);
}

int file_log_open(const char *folder, const struct file_log_options *options, struct log **ret_log,
                  char *ret_error)
{
    static const struct file_log_options defaults = {0};
    _cleanup_(free_logp) struct file_log *log = NULL;
    char error[ERROR_SIZE] = "";
    int r = new_log(folder, options ? options : &defaults, &log);

    if (r == 0)
        r = open_folder(log, error);
    if (r != 0) {
        if (r < 0 && error[0] == '\0')
            (void)explain(error, r, "%s cannot be opened: %s", folder, os_failure_text(r));
        if (ret_error)
            memcpy(ret_error, error, sizeof(error));
        return r;
    }
    *ret_log = &take_ptr(log)->log;
    return 0;
}
