/* Erasing: a fence in the journal, then the keys.
 *
 * The fence is an event like any other, in a stream of daybook's own, so that it goes wherever the log goes: to followers,
 * into backups, through a restart. It is made at its turn, on the writer thread: every event before it that is about the
 * subject was sealed with a key that it names, and every one behind it is sealed with a new key. Only when it is durable are the
 * keys destroyed; whoever finds a fence whose keys live, after a crash or in an older copy, destroys them then.
 *
 *     {"subject":"<32 hexadecimal digits>","keys":["<32 hexadecimal digits>",…]}
 */

#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/hex.h"
#include "base/json.h"
#include "journal/keys.h"
#include "journal/state.h"

#define FENCE_STREAM JOURNAL_FENCE_STREAM

/* ---- the fence as an event ---- */

struct erasing {
    struct journal_append append; /* first */
    struct vault *vault;
    struct bytes subject;
    struct journal_event_new event;
    struct buffer data;
    size_t key_count;
};

static int write_hex(struct json_writer *w, const struct vault_id *id)
{
    struct buffer text = {0};
    int r = hex_encode(bytes_make(id->bytes, sizeof(id->bytes)), &text);
    if (r == 0)
        json_write_bytes(w, buffer_bytes(&text));
    buffer_deinit(&text);
    return r;
}

static int write_fence(struct erasing *erasing, const struct vault_id *keys, size_t count)
{
    struct vault_id subject = vault_subject(erasing->vault, erasing->subject);
    struct json_writer w = json_writer(&erasing->data);
    buffer_clear(&erasing->data);
    json_write_object_begin(&w);
    json_write_key(&w, "subject");
    int r = write_hex(&w, &subject);
    json_write_key(&w, "keys");
    json_write_array_begin(&w);
    for (size_t i = 0; r == 0 && i < count; i++)
        r = write_hex(&w, &keys[i]);
    json_write_array_end(&w);
    json_write_object_end(&w);
    return error_first(r, json_write_end(&w));
}

/* At its turn: which keys have sealed anything before it. None: nothing is appended. */
static int prepare_fence(struct journal_append *append, struct journal_turn *turn)
{
    struct erasing *erasing = (struct erasing *)append;
    struct vault_id keys[VAULT_SUBJECT_KEY_COUNT_MAX];
    erasing->key_count = vault_retire(erasing->vault, erasing->subject, keys);
    append->event_count = 0;
    if (erasing->key_count == 0)
        return 0;
    int r = write_fence(erasing, keys, erasing->key_count);
    erasing->event = (struct journal_event_new){
        .stream = FENCE_STREAM, .type = KEYS_FENCE_TYPE, .data = buffer_bytes(&erasing->data), .system = true};
    append->events = &erasing->event;
    append->event_count = 1;
    return r;
}

/* ---- obeying ---- */

/* Without room for one fence the others are obeyed all the same: nobody reads what is erased (P7). */
struct obeying {
    struct vault *vault;
    bool full;
};

static int obey(void *user, const struct vault_fence *fence)
{
    struct obeying *obeying = user;
    int r = vault_fence(obeying->vault, fence);
    obeying->full |= r == -ENOSPC;
    return r == -ENOSPC ? 0 : r;
}

int journal_obey_fences(struct journal *journal, uint64_t *after)
{
    const struct journal_read read = {
        .stream = FENCE_STREAM, .by_position = true, .after = *after, .system = true};
    _cleanup_(journal_reader_freep) struct journal_reader *reader = NULL;
    struct obeying obeying = {.vault = journal->options.vault};
    struct journal_event event;
    if (!obeying.vault)
        return 0;
    int r = journal_reader_new(journal, &read, &reader);
    while (r == 0 && (r = journal_reader_next(reader, &event)) == 0) {
        r = keys_each_fence(&event, obey, &obeying);
        if (r == 0 && !obeying.full)
            *after = event.position;
    }
    if (r == JOURNAL_E_END && obeying.full)
        return -ENOSPC;
    if (r == JOURNAL_E_END)
        *after = journal_reader_examined(reader) > *after ? journal_reader_examined(reader) : *after;
    return r < 0 ? r : 0;
}

/* ---- erasing ---- */

/* The last fence of the subject. */
static bool find_fence(struct vault *vault, struct bytes subject, struct journal_erasure *erasure)
{
    struct vault_id id = vault_subject(vault, subject);
    struct vault_fence fence;
    *erasure = (struct journal_erasure){0};
    for (size_t i = vault_fence_count(vault); i-- > 0;) {
        vault_fence_get(vault, i, &fence);
        if (memcmp(&fence.subject, &id, sizeof(id)) != 0)
            continue;
        if (erasure->key_count > 0 && fence.position != erasure->position)
            break;
        erasure->position = fence.position;
        erasure->time_us = fence.time_us;
        erasure->key_count++;
    }
    return erasure->key_count > 0;
}

int journal_erase(struct journal *journal, struct bytes subject, struct journal_erasure *ret_erasure)
{
    struct vault *vault = journal->options.vault;
    struct erasing erasing = {.append.prepare = prepare_fence, .vault = vault, .subject = subject};
    struct journal_result result;
    struct journal_erasure erasure;
    if (!vault)
        return JOURNAL_E_NO_SUBJECT;
    int r = journal_append_wait(journal, &erasing.append, &result);
    buffer_deinit(&erasing.data);
    if (r != 0)
        return r;
    if (erasing.key_count == 0 && !find_fence(vault, subject, &erasure))
        return JOURNAL_E_NO_SUBJECT;
    /* Again: it may not have been obeyed for good, for want of room. */
    uint64_t first = erasing.key_count > 0 ? result.first : erasure.position, after = first > 0 ? first - 1 : 0;
    r = journal_obey_fences(journal, &after);
    if (r < 0)
        return r == -ENOSPC ? JOURNAL_E_FULL : r;
    if (!find_fence(vault, subject, &erasure))
        return JOURNAL_E_NO_SUBJECT;
    erasure.again = erasing.key_count == 0;
    *ret_erasure = erasure;
    return 0;
}
