#include "journal/keys.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "base/hex.h"
#include "base/json.h"
#include "journal/seal.h"
#include "os/file.h"

/* ---- the fence as an event (journal/erase.c writes it) ---- */

static bool read_id(struct json_value value, struct vault_id *ret_id)
{
    struct buffer text = {0}, bytes = {0};
    bool good = json_type(value) == JSON_STRING && json_string(value, &text) == 0 &&
                hex_decode(buffer_bytes(&text), &bytes) == 0 && bytes.size == sizeof(ret_id->bytes);
    if (good)
        memcpy(ret_id->bytes, bytes.data, sizeof(ret_id->bytes));
    buffer_deinit(&text);
    buffer_deinit(&bytes);
    return good;
}

static int read_fences(const struct journal_event *event, struct json_value root,
                       int (*each)(void *user, const struct vault_fence *fence), void *user)
{
    struct vault_fence fence = {.position = event->position, .time_us = event->time_us};
    if (!read_id(json_get(root, "subject"), &fence.subject))
        return 0;
    struct json_value keys = json_get(root, "keys");
    int r = 0;
    for (struct json_cursor at = json_walk(keys); r == 0 && json_next(&at);)
        if (read_id(at.value, &fence.fingerprint))
            r = each(user, &fence);
    return r;
}

int keys_each_fence(const struct journal_event *event, int (*each)(void *user, const struct vault_fence *fence),
                    void *user)
{
    _cleanup_(json_doc_deinit) struct json_doc doc = {0};
    if (!bytes_equal(event->type, KEYS_FENCE_TYPE))
        return 0;
    int r = json_parse(event->data, &doc, NULL);
    return r == 0 ? read_fences(event, json_root(&doc), each, user) : r < 0 ? r : 0;
}

/* ---- what a log says ---- */

static int add_fence(void *user, const struct vault_fence *fence)
{
    return vault_evidence_add_fence(user, fence);
}

int keys_add_record(struct vault_evidence *evidence, const struct log_record *record)
{
    struct codec_tags tags;
    struct journal_event event;
    struct vault_id key;
    if (record->flags & LOG_RECORD_STUB)
        return 0;
    if (!vault_sealed_check(record->body, &key))
        return vault_evidence_add_key(evidence, &key, record->position);
    if (!codec_has_type(record, KEYS_FENCE_TYPE) || codec_read(record, &tags, &event, NULL) != 0)
        return 0;
    return keys_each_fence(&event, add_fence, evidence);
}

int keys_gather(struct log *log, struct vault_evidence *evidence)
{
    _cleanup_(log_reader_freep) struct log_reader *reader = NULL;
    struct log_record record;
    int r = log_reader_new(log, 0, &reader);
    while (r == 0 && (r = log_reader_next(reader, &record)) == 0)
        r = keys_add_record(evidence, &record);
    return r == LOG_E_END || r == -EBADMSG ? 0 : r > 0 ? -EIO : r;
}

/* ---- opening ---- */

/* 0 also when there is none. */
static int measure_keys(const char *folder, uint64_t *ret_size)
{
    const struct os_file_ops *ops = os_file_real();
    char path[OS_PATH_SIZE_MAX];
    int file, r = os_path(path, folder, "keys");
    *ret_size = 0;
    if (r == 0)
        r = ops->open(ops, path, OS_FILE_READ, &file);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    r = ops->size(ops, file, ret_size);
    (void)ops->close(ops, file);
    return r;
}

static int find_lost(struct log *log, const char *folder, uint64_t *ret_position)
{
    uint64_t size;
    int r = measure_keys(folder, &size);
    *ret_position = 0;
    return r == 0 && size == 0 ? seal_find_first(log, ret_position) : r;
}

static int say_lost(uint64_t position, const char *folder, char *ret_error)
{
    (void)snprintf(ret_error, 256,
                   "event %" PRIu64 " is about a subject, and the folder of keys, %.80s, is missing: put it back, or "
                   "start with --keys-lost when that data is to be given up",
                   position, folder);
    return KEYS_E_LOST;
}

/* ---- keys that are not in a file that holds ---- */

#define GIVEN_UP "given-up" /* DATA/keys/given-up: up to which position keys may be missing, in decimal */

static int read_given_up(const char *folder, uint64_t *ret_position)
{
    _cleanup_(buffer_deinit) struct buffer text = {0};
    char path[OS_PATH_SIZE_MAX];
    *ret_position = 0;
    int r = os_path(path, folder, GIVEN_UP);
    if (r == 0)
        r = os_file_read_whole(os_file_real(), path, &text);
    if (r < 0)
        return r == -ENOENT || r == -ENOTDIR ? 0 : r;
    /* What cannot be read has given up nothing. */
    if (text.size > 0 && bytes_parse_u64(bytes_make(text.data, text.size - 1), ret_position) != 0)
        *ret_position = 0;
    return 0;
}

static int write_given_up(const char *folder, uint64_t position)
{
    char text[32];
    int size = snprintf(text, sizeof(text), "%" PRIu64 "\n", position);
    return os_file_replace(os_file_real(), folder, GIVEN_UP, bytes_make(text, (size_t)size));
}

static uint64_t head_of(struct log *log)
{
    struct log_status status;
    log_status(log, &status);
    return status.head;
}

/* The first sealed event behind `after` whose key the vault has not, whatever the log says of it. */
static int suspect(struct log *log, struct vault *vault, uint64_t after, uint64_t *ret_position)
{
    _cleanup_(log_reader_freep) struct log_reader *reader = NULL;
    struct log_record record;
    int r = log_reader_new(log, after, &reader);
    *ret_position = 0;
    while (r == 0 && (r = log_reader_next(reader, &record)) == 0) {
        if ((record.flags & LOG_RECORD_STUB) || !vault_misses(vault, record.body))
            continue;
        *ret_position = record.position;
        return 0;
    }
    return r == LOG_E_END || r == -EBADMSG ? 0 : r > 0 ? -EIO : r;
}

static void take_first(void *user, const struct vault_damage *damage)
{
    uint64_t *first = user;
    if (!damage->torn && damage->position > 0 && (*first == 0 || damage->position < *first))
        *first = damage->position;
}

/* Fences of the whole log, keys that are used behind `after`. */
static int gather_behind(struct log *log, uint64_t after, struct vault_evidence *evidence)
{
    _cleanup_(log_reader_freep) struct log_reader *reader = NULL;
    struct log_record record;
    int r = log_reader_new(log, 0, &reader);
    while (r == 0 && (r = log_reader_next(reader, &record)) == 0) {
        r = keys_add_record(evidence, &record);
        if (record.position <= after)
            hashmap_deinit(&evidence->used);
    }
    return r == LOG_E_END || r == -EBADMSG ? 0 : r > 0 ? -EIO : r;
}

int keys_find_missing(struct log *log, struct vault *vault, const char *folder, const char *source,
                      uint64_t *ret_position)
{
    _cleanup_(vault_evidence_deinit) struct vault_evidence evidence = {0};
    uint64_t head = head_of(log), after, given_up, first = 0;
    int r = read_given_up(source, &given_up);
    if (r < 0)
        return r;
    after = head > KEYS_LOOK_COUNT ? head - KEYS_LOOK_COUNT : 0;
    after = after > given_up ? after : given_up;
    r = suspect(log, vault, after, &first);
    if (r == 0 && first > 0) { /* a fence may stand in the log alone */
        after = first - 1;
        first = 0;
        r = gather_behind(log, after, &evidence);
        if (r == 0)
            r = vault_check(folder, NULL, &evidence, take_first, &first, NULL);
    }
    if (r == 0)
        *ret_position = first;
    return r > 0 ? -EBADMSG : r;
}

/* A vault that lacks the newest keys opens in every slot. */
static int refuse_missing(struct log *log, struct vault *vault, const char *folder, bool give_up, char *ret_error)
{
    uint64_t position = 0;
    int r = keys_find_missing(log, vault, folder, folder, &position);
    if (r == 0 && position > 0 && give_up)
        r = write_given_up(folder, head_of(log));
    if (r < 0)
        (void)snprintf(ret_error, 256, "the keys in %.150s cannot be held against the log: %s", folder,
                       strerrordesc_np(-r));
    if (r != 0 || position == 0 || give_up)
        return r;
    (void)snprintf(ret_error, 256,
                   "event %" PRIu64 " is about a subject, and its key is not in %.80s/keys, which has lost its end or is an older "
                   "copy: put back the newest, or give it up (--keys-lost)",
                   position, folder);
    return KEYS_E_LOST;
}

struct asking {
    struct log *log;
    bool follower;
};

/* A follower misses keys by nature: the fences alone count. */
static int ask(void *user, struct vault_evidence *evidence)
{
    const struct asking *asking = user;
    int r = keys_gather(asking->log, evidence);
    if (asking->follower)
        hashmap_deinit(&evidence->used);
    return r;
}

int keys_open(struct log *log, const char *folder, const struct keys_options *options, struct vault **ret_vault,
              char *ret_error)
{
    struct asking asking = {.log = log, .follower = options->follower};
    const struct vault_options vault_options = {.read_only = options->read_only,
                                                .give_up = options->give_up,
                                                .witness = {.ask = ask, .user = &asking},
                                                .on_notice = options->on_notice,
                                                .user = options->user};
    uint64_t position = 0;
    int r = options->follower || options->give_up || options->read_only ? 0 : find_lost(log, folder, &position);
    if (r < 0) {
        (void)snprintf(ret_error, 256, "the log, or %.150s, cannot be read: %s", folder, strerrordesc_np(-r));
        return r;
    }
    if (position > 0)
        return say_lost(position, folder, ret_error);
    struct vault *vault;
    r = vault_open(folder, &vault_options, &vault, ret_error);
    if (r == 0 && !options->follower && !options->read_only &&
        (r = refuse_missing(log, vault, folder, options->give_up, ret_error)) != 0)
        vault_close(vault);
    if (r == 0)
        *ret_vault = vault;
    return r;
}
