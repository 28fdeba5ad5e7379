#include "journal/tools.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "journal/codec.h"
#include "journal/event_json.h"
#include "journal/fetch.h"
#include "journal/index.h"
#include "os/clock.h"
#include "os/thread.h"

enum { FLOOR_WAIT_MS = 150 }; /* file_log_options.idle_floor_ms and some */

/* ---- folders ---- */

static bool has_log_head(const char *folder)
{
    char path[OS_PATH_SIZE_MAX];
    int file;
    if (os_path(path, folder, "log.head") < 0 ||
        os_file_real()->open(os_file_real(), path, OS_FILE_READ, &file) < 0)
        return false;
    (void)os_file_real()->close(os_file_real(), file);
    return true;
}

/* DATA/log, or the folder itself when it is a log's. */
static int find_log(const char *folder, char ret_path[OS_PATH_SIZE_MAX])
{
    if (has_log_head(folder)) {
        if (strlen(folder) >= OS_PATH_SIZE_MAX)
            return -ENAMETOOLONG;
        memcpy(ret_path, folder, strlen(folder) + 1);
        return 0;
    }
    return os_path(ret_path, folder, "log");
}

static int fail(char *ret_error, int r, const char *what, const char *folder)
{
    if (ret_error)
        snprintf(ret_error, 256, "%s %.150s: %s", what, folder, strerror(-r));
    return r;
}

/* Another process sees of a writer's last batch nothing until a floor vouches for it: in the next batch, or after a moment
 * of idleness (docs/formats/log.md). After that moment everything acknowledged before this call is seen. There is
 * nothing to watch meanwhile, so this one waits for the time alone. */
static void wait_for_the_floor(void)
{
    struct os_mutex lock = OS_MUTEX_INIT;
    struct os_cond never;
    uint64_t deadline_ns = os_monotonic_ns() + FLOOR_WAIT_MS * OS_NS_PER_MS;
    os_cond_init(&never);
    os_mutex_lock(&lock);
    while (os_cond_wait_until(&never, &lock, deadline_ns))
        ;
    os_mutex_unlock(&lock);
    os_cond_deinit(&never);
}

int journal_backup(const char *data_folder, const char *target, journal_tools_progress *on_progress,
                   void *user, uint64_t *ret_head, char *ret_error)
{
    char source_log[OS_PATH_SIZE_MAX], target_log[OS_PATH_SIZE_MAX];
    int r = find_log(data_folder, source_log);
    if (r == 0)
        r = os_path(target_log, target, "log");
    if (r < 0)
        return fail(ret_error, r, "cannot use the path", data_folder);
    r = os_file_real()->make_folder(os_file_real(), target);
    if (r < 0)
        return fail(ret_error, r, "cannot make the folder", target);
    wait_for_the_floor();
    return file_log_backup(source_log, target_log, NULL, on_progress, user, ret_head, ret_error);
}

/* ---- verify ---- */

struct verify {
    struct journal_verify_report report;
    void (*on_damage)(void *user, const struct file_log_damage *damage);
    void *user;
    struct log_reader *reader;
    struct fetch fetch; /* to look at an earlier event again */
    struct index *index;
    struct codec_tags tags;
    int64_t time_last_us;
    uint64_t append_first; /* of the event before */
    uint32_t append_count;
};

static void tell(struct verify *verify, uint64_t position, const char *what)
{
    struct file_log_damage damage = {.position = position, .acknowledged = true};
    verify->report.log.damage_count++;
    if (!verify->on_damage)
        return;
    file_log_reader_place(verify->reader, damage.file, &damage.offset);
    snprintf(damage.what, sizeof(damage.what), "%s", what);
    verify->on_damage(verify->user, &damage);
}

/* An event goes on with its append, or begins one right behind the last. */
static bool continues_append(const struct verify *verify, const struct journal_event *event)
{
    if (event->append_first == verify->append_first)
        return event->append_count == verify->append_count;
    return event->append_first == event->position &&
           event->position == verify->append_first + verify->append_count;
}

static int check_id(struct verify *verify, const struct journal_event *event)
{
    struct index_probe probe = {0};
    for (;;) {
        struct journal_event other;
        uint64_t position;
        int r = index_find_id(verify->index, event->id, &probe, &position);
        if (r == 0 && position == 0)
            return 0;
        if (r == 0)
            r = fetch_event(&verify->fetch, position, &other);
        if (r < 0)
            return r;
        if (memcmp(other.id, event->id, sizeof(other.id)) == 0)
            tell(verify, event->position, "its id stands at an earlier event already");
    }
}

static int check_event(struct verify *verify, const struct journal_event *event)
{
    uint64_t version = 0;
    int r = event->stream.size > 0 ? index_stream_version(verify->index, event->stream, &version) : 0;
    if (r < 0)
        return r;
    if (event->stream.size > 0 && event->version != version + 1)
        tell(verify, event->position, "its version does not continue its stream");
    if (event->time_us < verify->time_last_us)
        tell(verify, event->position, "its time is before that of the event before");
    if (!continues_append(verify, event))
        tell(verify, event->position, "it does not continue its append");
    verify->time_last_us = event->time_us;
    verify->append_first = event->append_first;
    verify->append_count = event->append_count;
    verify->report.events++;
    verify->report.appends += event->position == event->append_first;
    r = check_id(verify, event);
    return r == 0 ? index_add(verify->index, event) : r;
}

/* Behind an event that cannot be read nothing can be said about versions, so the check ends with the first. */
static int check_events(struct verify *verify)
{
    struct log_record record;
    int r;
    while ((r = log_reader_next(verify->reader, &record)) == 0) {
        struct journal_event event;
        const char *rule;
        if (codec_read(&record, &verify->tags, &event, &rule) != 0) {
            tell(verify, record.position, rule);
            return 0;
        }
        r = check_event(verify, &event);
        if (r < 0)
            return r;
    }
    if (verify->append_first + verify->append_count != index_last(verify->index) + 1)
        tell(verify, index_last(verify->index), "its append is not whole");
    verify->report.streams = index_stream_count(verify->index);
    return r == LOG_E_END ? 0 : r;
}

static int verify_events(struct verify *verify, struct log *log)
{
    struct log_status status;
    log_status(log, &status);
    verify->append_first = 0; /* as if an append of one event stood at position 0 */
    verify->append_count = 1;
    int r = index_new(status.key, 0, 0, &verify->index);
    if (r == 0)
        r = fetch_init(&verify->fetch, log);
    if (r == 0)
        r = log_reader_new(log, 0, &verify->reader);
    if (r == 0)
        r = check_events(verify);
    log_reader_free(verify->reader);
    fetch_deinit(&verify->fetch);
    index_free(verify->index);
    return r;
}

int journal_verify(const char *data_folder,
                   void (*on_damage)(void *user, const struct file_log_damage *damage),
                   journal_tools_progress *on_progress, void *user, struct journal_verify_report *ret_report,
                   char *ret_error)
{
    _cleanup_(freep) struct verify *verify = calloc(1, sizeof(*verify));
    char folder[OS_PATH_SIZE_MAX];
    struct file_log_options options = {.read_only = true};
    struct log *log;
    if (!verify)
        return -ENOMEM;
    int r = find_log(data_folder, folder);
    if (r < 0)
        return fail(ret_error, r, "cannot use the path", data_folder);
    r = file_log_verify(folder, NULL, on_damage, on_progress, user, &verify->report.log, ret_error);
    if (r != 0)
        return r;
    /* What the log cannot vouch for has been told; its events need not be looked at. */
    if (verify->report.log.damage_count == 0) {
        verify->on_damage = on_damage;
        verify->user = user;
        r = file_log_open(folder, &options, &log, ret_error);
        if (r != 0)
            return r;
        r = verify_events(verify, log);
        (void)log_close(log);
        if (r < 0)
            return fail(ret_error, r, "cannot read", folder);
    }
    *ret_report = verify->report;
    return 0;
}

/* ---- export ---- */

static int write_line(FILE *out, struct buffer *line)
{
    int r = buffer_append_byte(line, '\n');
    if (r == 0 && fwrite(line->data, 1, line->size, out) != line->size)
        r = error_from_errno();
    return r;
}

int journal_export(struct journal *journal, const struct journal_read *read, FILE *out, uint64_t *ret_count)
{
    _cleanup_(journal_reader_freep) struct journal_reader *reader = NULL;
    _cleanup_(buffer_deinit) struct buffer line = {0};
    struct journal_event event;
    uint64_t count = 0;
    int r = journal_reader_new(journal, read, &reader);
    if (r != 0)
        return r;
    while ((r = journal_reader_next(reader, &event)) == 0) {
        buffer_clear(&line);
        r = event_json_write(&event, &line);
        if (r == 0)
            r = write_line(out, &line);
        if (r < 0)
            return r;
        count++;
    }
    if (r < 0)
        return r;
    if (fflush(out) != 0)
        return error_from_errno();
    *ret_count = count;
    return 0;
}
