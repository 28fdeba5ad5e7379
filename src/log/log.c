/* What is the same for every engine: the chain, the limits, and the way through the table. */
#include "log/log.h"

#include <assert.h>
#include <errno.h>

#include "base/checked.h"
#include "base/hash.h"
#include "os/random.h"

static_assert(LOG_CHAIN_SIZE == HASH_BLAKE_SIZE, "the chain is BLAKE2b-256");

/* The fixed part of what a link of the chain covers: docs/formats/log.md, "The chain". */
enum { CHAIN_PREFIX_SIZE = 8 + LOG_CHAIN_SIZE + 8 + 8 + 4 + 4 + 4 };

/* Bodies hashed together: several of the few that hash_blake_many() takes at a time. */
enum { BODIES_AT_ONCE = 16 };

/* Hashes the bodies of up to BODIES_AT_ONCE records, where there is one and it has not been done. */
static void hash_bodies(struct log_record *records, size_t count)
{
    struct hash_blake_text texts[BODIES_AT_ONCE];
    struct log_record *hashed[BODIES_AT_ONCE];
    size_t text_count = 0;

    assert(count <= BODIES_AT_ONCE);
    for (size_t i = 0; i < count; i++) {
        if (records[i].flags & LOG_RECORD_STUB || records[i].hashed)
            continue;
        texts[text_count].text = records[i].body;
        texts[text_count].key = bytes_make(records[i].salt, sizeof(records[i].salt));
        hashed[text_count++] = &records[i];
    }
    hash_blake_many(texts, text_count);
    for (size_t i = 0; i < text_count; i++)
        memcpy(hashed[i]->body_hash, texts[i].hash.data, sizeof(hashed[i]->body_hash));
}

static size_t at_once(size_t left)
{
    return left < BODIES_AT_ONCE ? left : BODIES_AT_ONCE;
}

int log_records_hash(struct log_record *records, size_t count)
{
    int r = 0;

    for (size_t at = 0, step; r == 0 && at < count; at += step) {
        step = at_once(count - at);
        for (size_t i = 0; r == 0 && i < step; i++)
            r = os_random(records[at + i].salt, sizeof(records[at + i].salt));
        if (r == 0)
            hash_bodies(records + at, step);
        for (size_t i = 0; r == 0 && i < step; i++)
            records[at + i].hashed = true;
    }
    return r;
}

/* One link; the body has been hashed. */
static void add_link(const struct log_chain *before, const struct log_record *record, struct log_chain *ret_after)
{
    bool stub = record->flags & LOG_RECORD_STUB;
    uint32_t body_size = stub ? record->body_size : (uint32_t)record->body.size;
    uint8_t prefix[CHAIN_PREFIX_SIZE];
    struct hash_blake_state state;
    struct hash256 hash;

    memcpy(prefix, "daybook1", 8);
    memcpy(prefix + 8, before->bytes, LOG_CHAIN_SIZE);
    bytes_put_u64(prefix + 40, record->position);
    bytes_put_u64(prefix + 48, record->epoch);
    bytes_put_u32(prefix + 56, record->flags & ~LOG_RECORD_STUB);
    bytes_put_u32(prefix + 60, (uint32_t)record->head.size);
    bytes_put_u32(prefix + 64, body_size);
    hash_blake_init(&state, (struct bytes){0});
    hash_blake_update(&state, bytes_make(prefix, sizeof(prefix)));
    hash_blake_update(&state, record->head);
    hash_blake_update(&state, bytes_make(record->body_hash, sizeof(record->body_hash)));
    hash = hash_blake_final(&state);
    memcpy(ret_after->bytes, hash.data, sizeof(ret_after->bytes));
}

void log_chain_step(const struct log_chain *before, struct log_record *record, struct log_chain *ret_after)
{
    hash_bodies(record, 1);
    add_link(before, record, ret_after);
}

void log_chain_steps(struct log_chain *chain, struct log_record *records, size_t count)
{
    for (size_t at = 0, step; at < count; at += step) {
        step = at_once(count - at);
        hash_bodies(records + at, step);
        for (size_t i = 0; i < step; i++)
            add_link(chain, &records[at + i], chain);
    }
}

size_t log_record_size(const struct log_record *record)
{
    bool stub = record->flags & LOG_RECORD_STUB;
    size_t size;

    if (!checked_add_size(record->head.size, stub ? record->body_size : record->body.size, &size) ||
        !checked_add_size(size, LOG_RECORD_SIZE_EXTRA, &size))
        return SIZE_MAX;
    return size;
}

static int check_entry(const struct log_entry *entry)
{
    size_t size = 0;

    if (entry->count == 0)
        return -EINVAL;
    if (entry->count > LOG_APPEND_COUNT_MAX)
        return LOG_E_TOO_LARGE;
    for (size_t i = 0; i < entry->count; i++) {
        if (!checked_add_size(size, log_record_size(&entry->records[i]), &size) || size > LOG_APPEND_SIZE_MAX)
            return LOG_E_TOO_LARGE;
    }
    return 0;
}

int log_append(struct log *log, struct log_batch *batch)
{
    if (batch->count == 0)
        return -EINVAL;
    for (size_t i = 0; i < batch->count; i++) {
        int r = check_entry(&batch->entries[i]);

        if (r != 0)
            return r;
    }
    return log->ops->append(log, batch);
}

int log_reader_new(struct log *log, uint64_t after, struct log_reader **ret_reader)
{
    return log->ops->reader_new(log, after, ret_reader);
}

int log_reader_next(struct log_reader *reader, struct log_record *ret_record)
{
    return reader->ops->next(reader, ret_record);
}

int log_reader_seek(struct log_reader *reader, uint64_t after)
{
    return reader->ops->seek(reader, after);
}

void log_reader_free(struct log_reader *reader)
{
    if (reader)
        reader->ops->free(reader);
}

bool log_ranges_valid(const struct log_range *ranges, size_t count, uint64_t last)
{
    uint64_t before = 0;

    for (size_t i = 0; i < count; before = ranges[i++].last)
        if (ranges[i].first <= before || ranges[i].last < ranges[i].first || ranges[i].last > last)
            return false;
    return true;
}

uint64_t log_ranges_find(const struct log_range *ranges, size_t count, uint64_t from)
{
    size_t low = 0, high = count; /* the first range that ends at or behind `from` */

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (ranges[middle].last < from)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == count)
        return 0;
    return ranges[low].first > from ? ranges[low].first : from;
}

int log_replace(struct log *log, const struct log_range *ranges, size_t count, uint64_t from,
                struct log_replaced *ret_replaced)
{
    struct log_status status;

    log_status(log, &status);
    if (!log_ranges_valid(ranges, count, status.head))
        return -EINVAL;
    *ret_replaced = (struct log_replaced){0};
    if (log_ranges_find(ranges, count, from) == 0)
        return 0;
    int r = log->ops->replace(log, ranges, count, from, ret_replaced);
    atomic_fetch_add(&log->replaced_count, 1); /* behind it: who has read an old body has read an old count */
    return r;
}

uint64_t log_replaced_count(const struct log *log)
{
    return atomic_load(&log->replaced_count);
}

void log_status(struct log *log, struct log_status *ret_status)
{
    log->ops->status(log, ret_status);
}

void log_counters(struct log *log, struct log_counters *ret_counters)
{
    log->ops->counters(log, ret_counters);
}

int log_settle(struct log *log)
{
    return log->ops->settle ? log->ops->settle(log) : 0;
}

int log_chain_at(struct log *log, uint64_t position, struct log_chain *ret_chain)
{
    return log->ops->chain_at(log, position, ret_chain);
}

int log_close(struct log *log)
{
    return log ? log->ops->close(log) : 0;
}

uint64_t log_synced(struct log *log)
{
    return log->ops->synced ? log->ops->synced(log) : UINT64_MAX;
}

void log_on_synced(struct log *log, void (*moved)(void *user), void *user)
{
    if (log->ops->on_synced)
        log->ops->on_synced(log, moved, user);
}
