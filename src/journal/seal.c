#include "journal/seal.h"

#include <assert.h>
#include <stdio.h>

#include "base/cleanup.h"

static const char digits[] = "0123456789abcdef";

void seal_tag(const struct vault_id *fingerprint, uint8_t ret_tag[SEAL_TAG_SIZE])
{
    uint8_t *to = ret_tag + sizeof(SEAL_TAG_PREFIX) - 1;
    memcpy(ret_tag, SEAL_TAG_PREFIX, sizeof(SEAL_TAG_PREFIX) - 1);
    for (size_t i = 0; i < sizeof(fingerprint->bytes); i++) {
        *to++ = (uint8_t)digits[fingerprint->bytes[i] >> 4];
        *to++ = (uint8_t)digits[fingerprint->bytes[i] & 15];
    }
}

bool seal_is_own_tag(struct bytes tag)
{
    return bytes_starts_with(tag, BYTES_LITERAL(SEAL_TAG_PREFIX));
}

/* ---- on the way in ---- */

static int refuse(struct journal_result *result, int answer, size_t index, const char *detail)
{
    result->answer = answer;
    result->index = index;
    (void)snprintf(result->detail, sizeof(result->detail), "%s", detail);
    return answer;
}

static int take_key(struct vault *vault, const struct journal_append *append, size_t index,
                    struct vault_id *ret_key, struct journal_result *result)
{
    if (!vault)
        return refuse(result, JOURNAL_E_INVALID, index,
                      "this journal keeps no keys: an event cannot have a subject");
    int r = vault_key(vault, append->events[index].subject, ret_key);
    if (r == VAULT_E_BUSY)
        return refuse(result, JOURNAL_E_BUSY, index, "too many new keys wait to be written");
    if (r < 0 && r != -ENOMEM)
        return refuse(result, JOURNAL_E_FAILED, index,
                      "no key can be made for a new subject: reopen the journal");
    return r;
}

int seal_keys(struct vault *vault, struct arena *arena, const struct journal_append *append,
              struct vault_id **ret_keys, struct journal_result *result)
{
    struct vault_id *keys = NULL;
    for (size_t i = 0; i < append->event_count; i++) {
        if (append->events[i].subject.size == 0)
            continue;
        if (!keys)
            keys = arena_alloc_array(arena, append->event_count, sizeof(*keys));
        int r = keys ? take_key(vault, append, i, &keys[i], result) : -ENOMEM;
        if (r != 0)
            return r;
    }
    *ret_keys = keys;
    return 0;
}

int seal_add_tag(struct arena *arena, const struct vault_id *key, const struct bytes **tags, size_t *count)
{
    struct bytes *all = arena_alloc_array(arena, *count + 1, sizeof(*all));
    uint8_t *text = arena_alloc(arena, SEAL_TAG_SIZE);
    size_t at = 0;
    if (!all || !text)
        return -ENOMEM;
    seal_tag(key, text);
    struct bytes own = bytes_make(text, SEAL_TAG_SIZE);
    while (at < *count && bytes_compare((*tags)[at], own) < 0)
        at++;
    if (at > 0)
        memcpy(all, *tags, at * sizeof(*all));
    all[at] = own;
    if (at < *count)
        memcpy(all + at + 1, *tags + at, (*count - at) * sizeof(*all));
    *tags = all;
    *count += 1;
    return 0;
}

void seal_sync(struct vault *vault, enum log_outcome *ret_outcome)
{
    int r = vault_sync(vault);
    if (r < 0)
        *ret_outcome = r == -ENOSPC ? LOG_FULL : LOG_FAILED;
}

int seal_find_first(struct log *log, uint64_t *ret_position)
{
    _cleanup_(log_reader_freep) struct log_reader *reader = NULL;
    struct log_record record;
    struct vault_id key;
    int r = log_reader_new(log, 0, &reader);
    *ret_position = 0;
    while (r == 0 && (r = log_reader_next(reader, &record)) == 0) {
        if ((record.flags & LOG_RECORD_STUB) || vault_sealed_check(record.body, &key))
            continue;
        *ret_position = record.position;
        return 0;
    }
    return r == LOG_E_END ? 0 : r > 0 ? -EIO : r;
}

size_t seal_body_size(const struct journal_event *event)
{
    return vault_sealed_size(codec_plain_size(event));
}

int seal_write_body(struct vault *vault, const struct os_random *random, const struct vault_id *key,
                    const struct journal_event *event, struct bytes head, struct buffer *plain, uint8_t *to)
{
    uint8_t nonce[VAULT_NONCE_SIZE], *memory;
    int r = random->fill(random, nonce, sizeof(nonce));
    buffer_clear(plain);
    if (r == 0)
        r = buffer_extend(plain, codec_plain_size(event), &memory);
    if (r < 0)
        return r;
    codec_write_plain(event, memory);
    r = vault_seal(vault, key, nonce, head, buffer_bytes(plain), to);
    explicit_bzero(plain->data, plain->size);
    buffer_clear(plain);
    return r > 0 ? -EIO
                 : r; /* it was handed out a moment ago: only a fence can have come between, and none can */
}

/* ---- on the way out ---- */

void seal_hide_tag(struct codec_tags *tags, struct journal_event *event)
{
    for (size_t i = 0; i < event->tag_count; i++) {
        if (!seal_is_own_tag(tags->tags[i]))
            continue;
        memmove(tags->tags + i, tags->tags + i + 1, (event->tag_count - i - 1) * sizeof(tags->tags[0]));
        event->tag_count--;
        return;
    }
}

int seal_open(struct vault *vault, const struct log_record *record, bool own_tags, struct codec_tags *tags,
              struct buffer *plain, struct journal_event *event)
{
    assert(event->sealed && event->tags == tags->tags);
    if (!own_tags)
        seal_hide_tag(tags, event);
    int r = vault_unseal(vault, record->head, record->body, plain);
    switch (r) {
    case 0: event->sealed = false; return codec_read_plain(buffer_bytes(plain), event) == NULL ? 0 : -EBADMSG;
    case VAULT_E_ERASED:
        event->sealed = false;
        event->erased = true;
        return 0;
    case VAULT_E_MISSING: return 0;
    case VAULT_E_FORGED: return -EBADMSG;
    default: return r;
    }
}
