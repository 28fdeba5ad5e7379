/* Verify: the log first, by its own means, then every event by the rules of the journal. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "journal/census.h"
#include "journal/codec.h"
#include "journal/keys.h"
#include "journal/tools_internal.h"

struct verify {
    struct journal_verify_report report;
    void (*on_damage)(void *user, const struct file_log_damage *damage);
    void *user;
    struct log_reader *reader;
    struct census *census;
    struct vault_evidence evidence;
    struct codec_tags tags;
    uint64_t position_last; /* of the event before */
    int64_t time_last_us;
    uint64_t append_first;
    uint32_t append_count;
};

static void tell(struct verify *verify, uint64_t position, const char *what)
{
    struct file_log_damage damage = {.position = position, .acknowledged = true};
    verify->report.log.damage_count++;
    verify->report.log.acknowledged_count++;
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

static int check_event(struct verify *verify, const struct journal_event *event)
{
    if (event->time_us < verify->time_last_us && !journal_is_correction(event))
        tell(verify, event->position, "its time is before that of the event before");
    if (!continues_append(verify, event))
        tell(verify, event->position, "it does not continue its append");
    verify->position_last = event->position;
    verify->time_last_us = event->time_us;
    verify->append_first = event->append_first;
    verify->append_count = event->append_count;
    verify->report.events++;
    verify->report.appends += event->position == event->append_first;
    return census_add(verify->census, event);
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
        if (r == 0)
            r = keys_add_record(&verify->evidence, &record);
        if (r < 0)
            return r;
    }
    if (verify->append_first + verify->append_count != verify->position_last + 1)
        tell(verify, verify->position_last, "its append is not whole");
    return r == LOG_E_END ? 0 : r;
}

/* The census tells of events that were read long ago: the reader goes back to find their places. */
static void tell_later(void *user, uint64_t position, const char *what)
{
    struct verify *verify = user;
    struct log_record record;
    if (log_reader_seek(verify->reader, position - 1) == 0)
        (void)log_reader_next(verify->reader, &record);
    tell(verify, position, what);
}

static int verify_events(struct verify *verify, struct log *log)
{
    struct log_status status;
    log_status(log, &status);
    verify->append_first = 0; /* as if an append of one event stood at position 0 */
    verify->append_count = 1;
    int r = census_new(status.key, CENSUS_MEMORY_SIZE, &verify->census);
    if (r == 0)
        r = log_reader_new(log, 0, &verify->reader);
    if (r == 0)
        r = check_events(verify);
    if (r == 0)
        r = census_check(verify->census, tell_later, verify, &verify->report.streams);
    log_reader_free(verify->reader);
    census_free(verify->census);
    return r;
}

/* ---- the keys ---- */

static void tell_of_keys(void *user, const struct vault_damage *found)
{
    struct verify *verify = user;
    struct file_log_damage damage = {
        .offset = found->offset, .position = found->position, .acknowledged = !found->torn};
    verify->report.log.damage_count++;
    verify->report.log.acknowledged_count += damage.acknowledged;
    if (!verify->on_damage)
        return;
    (void)snprintf(damage.file, sizeof(damage.file), "keys/%s", found->file);
    (void)snprintf(damage.what, sizeof(damage.what), "%s", found->what);
    verify->on_damage(verify->user, &damage);
}

/* A log's own folder has none. */
static int verify_keys(struct verify *verify, const char *data_folder, const char *log_folder, char *ret_error)
{
    char folder[OS_PATH_SIZE_MAX];
    int r = os_path(folder, data_folder, "keys");
    if (r < 0 || strcmp(data_folder, log_folder) == 0)
        return r;
    r = vault_check(folder, NULL, &verify->evidence, tell_of_keys, verify, ret_error);
    return r == VAULT_E_NEWER ? FILE_LOG_E_NEWER : r;
}

static int verify_all(struct verify *verify, const char *data_folder, const char *folder, char *ret_error)
{
    struct file_log_options options = {.read_only = true};
    struct log *log;
    int r = 0;
    /* What the log cannot vouch for has been told; its events need not be looked at. A torn tail is no part of it. */
    if (verify->report.log.acknowledged_count == 0) {
        r = file_log_open(folder, &options, &log, ret_error);
        if (r != 0)
            return r;
        r = verify_events(verify, log);
        (void)log_close(log);
        if (r < 0)
            return tools_fail(ret_error, r, "cannot read", folder);
    }
    return verify_keys(verify, data_folder, folder, ret_error);
}

int journal_verify(const char *data_folder,
                   void (*on_damage)(void *user, const struct file_log_damage *damage),
                   journal_tools_progress *on_progress, void *user, struct journal_verify_report *ret_report,
                   char *ret_error)
{
    _cleanup_(freep) struct verify *verify = calloc(1, sizeof(*verify));
    char folder[OS_PATH_SIZE_MAX];
    if (!verify)
        return -ENOMEM;
    int r = tools_find_log(data_folder, folder);
    if (r < 0)
        return tools_fail(ret_error, r, "cannot use the path", data_folder);
    r = file_log_verify(folder, NULL, on_damage, on_progress, user, &verify->report.log, ret_error);
    if (r != 0)
        return r;
    verify->on_damage = on_damage;
    verify->user = user;
    r = verify_all(verify, data_folder, folder, ret_error);
    vault_evidence_deinit(&verify->evidence);
    if (r != 0)
        return r;
    *ret_report = verify->report;
    return 0;
}
