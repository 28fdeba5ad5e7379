#include "journal/tools_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "journal/event_json.h"
#include "journal/fetch.h"
#include "journal/keys.h"
#include "journal/scavenge_said.h"
#include "os/clock.h"
#include "os/thread.h"
#include "vault/vault.h"

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

int tools_find_log(const char *folder, char ret_path[OS_PATH_SIZE_MAX])
{
    if (has_log_head(folder)) {
        if (strlen(folder) >= OS_PATH_SIZE_MAX)
            return -ENAMETOOLONG;
        memcpy(ret_path, folder, strlen(folder) + 1);
        return 0;
    }
    return os_path(ret_path, folder, "log");
}

int tools_find_index(const char *folder, char ret_path[OS_PATH_SIZE_MAX])
{
    char above[OS_PATH_SIZE_MAX];
    bool is_log = has_log_head(folder);
    int r = is_log ? os_path(above, folder, "..") : 0;
    return r == 0 ? os_path(ret_path, is_log ? above : folder, "index") : r;
}

int tools_fail(char *ret_error, int r, const char *what, const char *folder)
{
    if (ret_error)
        snprintf(ret_error, 256, "%s %.150s: %s", what, folder, strerror(-r));
    return r;
}

/* Another process sees of a writer's last batch nothing until a floor vouches for it: in the next batch, or after a moment
 * of idleness (docs/formats/log.md). After that moment everything acknowledged before this call is seen. There is
 * nothing to watch meanwhile, so this one waits for the time alone. */
void tools_wait_for_the_floor(void)
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

/* Folder and folder/log, made. */
static int make_data_folder(const char *folder, char ret_log[OS_PATH_SIZE_MAX], char *ret_error)
{
    int r = os_path(ret_log, folder, "log");
    if (r < 0)
        return tools_fail(ret_error, r, "cannot use the path", folder);
    r = os_file_real()->make_folder(os_file_real(), folder);
    if (r == 0)
        r = os_file_sync_parent(os_file_real(), folder);
    return r < 0 ? tools_fail(ret_error, r, "cannot make the folder", folder) : 0;
}

/* ---- keys and fences ---- */

/* The answers of a vault, in words of the log's: both are files of a newer daybook, or broken ones. */
static int answer_of_vault(int r)
{
    return r == VAULT_E_NEWER     ? FILE_LOG_E_NEWER
           : r == VAULT_E_DAMAGED ? FILE_LOG_E_DAMAGED
           : r == VAULT_E_FOREIGN ? FILE_LOG_E_DIVERGED
                                  : r;
}

/* What the log in a folder says of its keys. */
static int gather(void *user, struct vault_evidence *evidence)
{
    const struct file_log_options options = {.read_only = true};
    struct log *log;
    int r = file_log_open(user, &options, &log, NULL);
    if (r != 0)
        return r == FILE_LOG_E_MISSING ? 0 : r > 0 ? -EBADMSG : r;
    r = keys_gather(log, evidence);
    (void)log_close(log);
    return r;
}

/* DATA/keys of both; a log's own folder has none. `log_folder` is the log whose keys they are. */
static int copy_keys(const char *data_folder, char *log_folder, const char *target, char *ret_error)
{
    const struct vault_witness witness = {.ask = gather, .user = log_folder};
    char from[OS_PATH_SIZE_MAX], into[OS_PATH_SIZE_MAX];
    if (has_log_head(data_folder))
        return 0;
    int r = os_path(from, data_folder, "keys");
    if (r == 0)
        r = os_path(into, target, "keys");
    return r == 0 ? answer_of_vault(vault_backup(from, into, NULL, &witness, ret_error)) : r;
}

static int refuse_incomplete(const char *keys, const char *data_folder, struct log *log, struct vault *vault, char *ret_error)
{
    char own[OS_PATH_SIZE_MAX];
    uint64_t position = 0;
    int r = os_path(own, data_folder, "keys");
    if (r == 0)
        r = keys_find_missing(log, vault, keys, own, &position);
    if (r != 0 || position == 0 || !ret_error)
        return r != 0 || position == 0 ? r : JOURNAL_TOOLS_E_KEYS;
    (void)snprintf(ret_error, 256,
                   "every event is in the copy, but neither there nor in %.100s/keys is the key of event %" PRIu64
                   ": daybook verify tells of all that are missing",
                   data_folder, position);
    return JOURNAL_TOOLS_E_KEYS;
}

/* Whether the copy has the keys of its newest events. */
static int check_keys(const char *data_folder, char *target_log, const char *target, char *ret_error)
{
    const struct file_log_options log_options = {.read_only = true};
    const struct vault_options vault_options = {.read_only = true};
    char keys[OS_PATH_SIZE_MAX];
    struct vault *vault;
    struct log *log;
    if (has_log_head(data_folder))
        return 0;
    int r = os_path(keys, target, "keys");
    if (r == 0)
        r = file_log_open(target_log, &log_options, &log, ret_error);
    if (r != 0)
        return r;
    r = answer_of_vault(vault_open(keys, &vault_options, &vault, ret_error));
    if (r == 0) {
        r = refuse_incomplete(keys, data_folder, log, vault, ret_error);
        vault_close(vault);
    }
    (void)log_close(log);
    return r;
}

/* Fences stand in the vault and in the log: each knows of what the other has lost. `fences` kept apart has no log. */
static int join_fences(const char *from, const char *data_folder, char *ret_error)
{
    _cleanup_(vault_evidence_deinit) struct vault_evidence evidence = {0};
    char theirs[OS_PATH_SIZE_MAX], ours[OS_PATH_SIZE_MAX], log[OS_PATH_SIZE_MAX];
    int r = os_path(theirs, from, "keys");
    if (r == 0)
        r = os_path(ours, data_folder, "keys");
    if (r == 0)
        r = tools_find_log(from, log);
    if (r == 0)
        r = gather(log, &evidence);
    if (r < 0)
        return tools_fail(ret_error, r, "cannot read the fences in", from);
    return answer_of_vault(vault_union_fences(theirs, ours, NULL, &evidence, ret_error));
}

int journal_join_fences(const char *from, const char *data_folder, char *ret_error)
{
    char log[OS_PATH_SIZE_MAX];
    int r = make_data_folder(data_folder, log, ret_error);
    return r == 0 ? join_fences(from, data_folder, ret_error) : r;
}

/* ---- backup ---- */

int journal_backup(const char *data_folder, const char *target, journal_tools_progress *on_progress,
                   void *user, struct file_log_copied *ret_copied, char *ret_error)
{
    char source_log[OS_PATH_SIZE_MAX], target_log[OS_PATH_SIZE_MAX];
    int r = tools_find_log(data_folder, source_log);
    if (r < 0)
        return tools_fail(ret_error, r, "cannot use the path", data_folder);
    r = make_data_folder(target, target_log, ret_error);
    if (r < 0)
        return r;
    tools_wait_for_the_floor();
    r = file_log_backup(source_log, target_log, NULL, on_progress, user, ret_copied, ret_error);
    /* Keys after the log: then every event that was copied has its key in the copy, or a fence. */
    if (r == 0)
        r = copy_keys(data_folder, target_log, target, ret_error);
    return r == 0 ? check_keys(data_folder, target_log, target, ret_error) : r;
}

/* ---- restore ---- */

/* DATA must hold nothing but keys, which are joined; a log in it is file_log_restore()'s to judge, which knows an
 * interrupted restore. */
static int check_data_folder(const char *folder, char *ret_error)
{
    _cleanup_(buffer_deinit) struct buffer names = {0};
    int r = os_file_real()->list(os_file_real(), folder, &names);
    if (r == -ENOENT)
        return 0;
    if (r < 0)
        return tools_fail(ret_error, r, "cannot look into", folder);
    for (size_t offset = 0; offset < names.size; offset += strlen((char *)names.data + offset) + 1) {
        const char *name = (char *)names.data + offset;
        if (strcmp(name, "log") == 0 || strcmp(name, "keys") == 0)
            continue;
        if (ret_error)
            snprintf(ret_error, 256, "%.150s holds something: a restore makes a new folder and replaces none",
                     folder);
        return FILE_LOG_E_EXISTS;
    }
    return 0;
}

/* The last position whose event is not later. Times may go back, at corrections of the clock (J6), so all are looked at. */
static int find_time(struct log *log, int64_t time_us, uint64_t *ret_position)
{
    _cleanup_(log_reader_freep) struct log_reader *reader = NULL;
    struct log_record record;
    uint64_t position = 0;
    int r = log_reader_new(log, 0, &reader);
    while (r == 0 && (r = log_reader_next(reader, &record)) == 0) {
        struct codec_tags tags;
        struct journal_event event;
        r = codec_read(&record, &tags, &event, NULL) == 0 ? 0 : -EBADMSG;
        if (r == 0 && event.time_us <= time_us)
            position = record.position;
    }
    if (r == LOG_E_END)
        *ret_position = position;
    return r == LOG_E_END ? 0 : r < 0 ? r : -EIO;
}

static int find_cut(const char *source_log, const struct journal_until *until, uint64_t *ret_source_head,
                    uint64_t *ret_position, char *ret_error)
{
    struct file_log_options options = {.read_only = true};
    struct log_status status;
    struct log *log;
    int r = file_log_open(source_log, &options, &log, ret_error);
    if (r != 0)
        return r;
    log_status(log, &status);
    *ret_source_head = status.head;
    *ret_position = until && !until->by_time ? until->position : UINT64_MAX;
    if (until && until->by_time)
        r = find_time(log, until->time_us, ret_position);
    (void)log_close(log);
    return r < 0 ? tools_fail(ret_error, r, "cannot find the time in", source_log) : 0;
}

/* When the restored journal ends: the time of its last event, 0 when it has none. */
static int read_last_time(const char *log_folder, uint64_t head, int64_t *ret_time_us)
{
    struct file_log_options options = {.read_only = true};
    struct journal_event event = {0};
    struct fetch fetch;
    struct log *log;
    int r = file_log_open(log_folder, &options, &log, NULL);
    if (r != 0)
        return r;
    r = fetch_init(&fetch, log);
    if (r == 0 && head > 0)
        r = fetch_event(&fetch, head, &event);
    *ret_time_us = event.time_us;
    fetch_deinit(&fetch);
    (void)log_close(log);
    return r;
}

/* No body that the restored journal says is gone may be there, not even before somebody serves it. */
static int settle(const char *log_folder, char *ret_error)
{
    struct log *log;
    int r = file_log_open(log_folder, NULL, &log, ret_error);
    if (r != 0)
        return r;
    r = scavenge_settle_copy(log);
    (void)log_close(log);
    return r == 0 ? 0
                  : tools_fail(ret_error, r < 0 ? r : -EROFS,
                               "all is restored, but what was scavenged since is not taken away yet, which the next server "
                               "does, in",
                               log_folder);
}

int journal_restore(const char *backup, const char *data_folder, const struct journal_until *until,
                    journal_tools_progress *on_progress, void *user, struct journal_restore_report *ret_report,
                    char *ret_error)
{
    char source_log[OS_PATH_SIZE_MAX], target_log[OS_PATH_SIZE_MAX];
    struct journal_restore_report report = {0};
    uint64_t position = 0;
    int r = tools_find_log(backup, source_log);
    if (r < 0)
        return tools_fail(ret_error, r, "cannot use the path", backup);
    r = find_cut(source_log, until, &report.source_head, &position, ret_error);
    if (r == 0)
        r = check_data_folder(data_folder, ret_error);
    if (r == 0)
        r = make_data_folder(data_folder, target_log, ret_error);
    if (r == 0)
        r = copy_keys(backup, source_log, data_folder, ret_error); /* first: no log is ever there without its fences */
    if (r == 0)
        r = join_fences(backup, data_folder, ret_error); /* also those behind the cut */
    if (r == 0)
        r = file_log_restore(source_log, target_log, NULL, position, on_progress, user, &report.copied, ret_error);
    if (r == 0)
        r = settle(target_log, ret_error);
    if (r != 0)
        return r;
    r = read_last_time(target_log, report.copied.head, &report.time_us);
    if (r != 0)
        return tools_fail(ret_error, r < 0 ? r : -EBADMSG, "cannot read again what was restored into", data_folder);
    *ret_report = report;
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
