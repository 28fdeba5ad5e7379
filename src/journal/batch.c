#include "journal/batch.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/vector.h"
#include "journal/check.h"
#include "journal/ready.h"
#include "journal/seal.h"
#include "journal/validate.h"

void batch_init(struct batch *batch, struct past *past, struct source *source)
{
    *batch = (struct batch){.past = past, .source = source};
}

void batch_deinit(struct batch *batch)
{
    layer_deinit(&batch->layer);
    arena_deinit(&batch->arena);
    buffer_deinit(&batch->plain);
    free(batch->appends);
    free(batch->entries);
}

void batch_begin(struct batch *batch)
{
    arena_reset(&batch->arena);
    batch->append_count = batch->entry_count = 0;
    batch->size = batch->event_count = 0;
    batch->conflict_count = batch->replay_count = 0;
    batch->taken = 0;
    batch->landed = batch->own = false;
    batch->outcome = LOG_DURABLE;
    past_begin(batch->past, &batch->layer);
}

bool batch_is_full(const struct batch *batch)
{
    return batch->size >= JOURNAL_BATCH_SIZE_MAX || batch->event_count >= JOURNAL_BATCH_EVENT_COUNT_MAX ||
           batch->append_count >= JOURNAL_BATCH_APPEND_COUNT_MAX;
}

/* ---- putting events into the batch ---- */

/* `key`: what its body is sealed with; NULL: it is not. `ready`: the record with its body; NULL: it is made here. */
static int encode(struct batch *batch, const struct journal_event *event, const struct vault_id *key,
                  const struct log_record *ready, struct log_record *record)
{
    size_t head_size = codec_head_size(event), body_size = 0;
    int r = 0;
    if (!ready)
        body_size = key ? seal_body_size(event) : codec_body_size(event);
    uint8_t *memory = arena_alloc(&batch->arena, head_size + body_size);
    if (!memory)
        return -ENOMEM;
    codec_write_head(event, memory);
    if (ready)
        *record = *ready;
    else if (key)
        r = seal_write_body(batch->vault, batch->source->random, key, event, bytes_make(memory, head_size),
                            &batch->plain, memory + head_size);
    else
        codec_write_body(event, memory + head_size);
    if (r < 0)
        return r;
    record->head = bytes_make(memory, head_size);
    if (!ready)
        record->body = bytes_make(memory + head_size, body_size);
    batch->size += head_size + record->body.size;
    return 0;
}

static int put_event(struct batch *batch, const struct batch_append *item, size_t index,
                     uint64_t append_first, int64_t time_us, struct log_record *record,
                     struct journal_result *result)
{
    const struct journal_append *append = item->append;
    const struct journal_event_new *wanted = &append->events[index];
    const struct vault_id *key = wanted->subject.size > 0 ? &item->keys[index] : NULL;
    struct journal_event event = {
        .position = append_first + index,
        .time_us = time_us,
        .append_first = append_first,
        .append_count = (uint32_t)append->event_count,
        .stream = wanted->stream,
        .type = wanted->type,
        .content_type = check_content_type(wanted->content_type),
        .data = wanted->data,
        .meta = wanted->meta,
        .subject = wanted->subject,
        .key = append->key,
        .key_hash = append->key_hash,
    };
    int r = check_sort_tags(&batch->arena, wanted, &event.tags, &event.tag_count);
    batch->own |= wanted->system;
    if (r == 0 && key)
        r = seal_add_tag(&batch->arena, key, &event.tags, &event.tag_count);
    if (r == 0 && wanted->stream.size > 0) {
        r = past_stream_version(batch->past, wanted->stream, &event.version);
        event.version++;
    }
    if (wanted->has_id)
        memcpy(event.id, wanted->id, sizeof(event.id));
    else if (r == 0)
        r = source_id(batch->source, time_us, event.id);
    if (r == 0)
        r = encode(batch, &event, key, append->ready ? &append->ready->records[index] : NULL, record);
    if (r == 0)
        r = past_push(batch->past, &event);
    if (r == 0)
        check_note_version((struct journal_stream_version *)(uintptr_t)result->streams, &result->stream_count,
                           event.stream, event.version);
    return r;
}

static bool is_correction(const struct journal_append *append)
{
    return append->event_count == 1 && append->events[0].system &&
           bytes_equal(append->events[0].type, JOURNAL_CLOCK_TYPE);
}

static int put_append(struct batch *batch, struct batch_append *item)
{
    const struct journal_append *append = item->append;
    struct journal_result *result = &item->result;
    size_t count = append->event_count;
    uint64_t first = past_tail(batch->past) + 1;
    if (is_correction(append))
        source_correct(batch->source);
    int64_t time_us = source_time(batch->source);
    struct log_record *records = arena_alloc_array(&batch->arena, count, sizeof(*records));
    result->streams = arena_alloc_array(&batch->arena, count, sizeof(*result->streams));
    if (!records || !result->streams)
        return -ENOMEM;
    int r = vector_reserve(&batch->entries, &batch->entry_capacity, batch->entry_count + 1);
    for (size_t i = 0; r == 0 && i < count; i++)
        r = put_event(batch, item, i, first, time_us, &records[i], result);
    if (r < 0)
        return r;
    batch->entries[batch->entry_count++] = (struct log_entry){.records = records, .count = count};
    batch->event_count += count;
    result->first = first;
    result->last = past_tail(batch->past);
    assert(result->last == first + count - 1); /* J3 */
    item->written = true;
    return 0;
}

/* ---- a turn ---- */

/* Let the append look at what stands before it. 0: go on. 1: it is decided. */
static int prepare(struct batch *batch, struct journal_append *append, struct journal_result *result)
{
    struct journal_turn turn = {.batch = batch};
    if (!append->prepare)
        return 0;
    int r = append->prepare(append, &turn);
    result->first = result->last = past_tail(batch->past);
    if (r != 0) {
        result->answer = r;
        snprintf(result->detail, sizeof(result->detail), "%s",
                 r > 0 ? "refused by its own rule" : "the decision failed");
        return 1;
    }
    if (append->event_count == 0)
        return 1;
    result->first = result->last = 0;
    return validate_append(append, result) != 0 ? 1 : 0;
}

static int decide(struct batch *batch, struct journal_append *append, struct journal_result *result)
{
    int r = prepare(batch, append, result);
    if (r == 0)
        r = check_ids(batch->past, &batch->arena, append, result);
    if (r == 0)
        r = check_guards(batch->past, &batch->arena, append, result);
    return r;
}

int batch_take(struct batch *batch, struct journal_append *append)
{
    int r = vector_reserve(&batch->appends, &batch->append_capacity, batch->append_count + 1);
    if (r < 0)
        return r;
    struct batch_append *item = &batch->appends[batch->append_count];
    *item = (struct batch_append){.append = append};
    r = decide(batch, append, &item->result);
    if (r == 0)
        r = seal_keys(batch->vault, &batch->arena, append, &item->keys, &item->result);
    if (r == 0) {
        r = put_append(batch, item);
        if (r < 0)
            return r;
    }
    if (r == -ENOMEM)
        return r;
    if (r < 0) {
        /* The log could not be read, so nothing can be said about this append; the others do not suffer. */
        item->result = (struct journal_result){.answer = r};
        snprintf(item->result.detail, sizeof(item->result.detail), "the journal could not be read: %s",
                 strerror(-r));
    }
    batch->conflict_count += item->result.answer == JOURNAL_E_CONFLICT;
    batch->replay_count += item->result.replayed;
    batch->append_count++;
    return 0;
}
