#include "lib/memory_log.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/vector.h"
#include "os/clock.h"
#include "os/random.h"
#include "os/thread.h"

enum { QUEUE_COUNT_MAX = 16 };

struct memory_store {
    struct os_mutex lock;
    struct os_cond changed;
    uint8_t id[LOG_ID_SIZE], key[16];
    uint64_t epoch;
    struct log_record *records;
    struct log_chain *chains; /* after each record */
    size_t count, capacity, chain_capacity;
    enum log_outcome scripted;
    unsigned scripted_count;
    bool kept, hold, held, broken;
    bool step; /* the one that is held may go */
    bool failed; /* the last batch that was not built ahead, or one since, was not written */
    enum log_outcome last_failure;
    bool intrusion;
    struct log_record intruder;
    uint64_t damaged, batches;
};

struct memory_log {
    struct log log;
    struct memory_store *store;
    bool threaded, closing;
    struct os_thread thread;
    struct log_batch *queue[QUEUE_COUNT_MAX];
    size_t queue_count;
};

struct memory_reader {
    struct log_reader reader;
    struct memory_store *store;
    uint64_t at;
};

/* ---- the store ---- */

struct memory_store *memory_store_new(void)
{
    struct memory_store *store = calloc(1, sizeof(*store));
    assert(store);
    os_mutex_init(&store->lock);
    os_cond_init(&store->changed);
    assert(os_random(store->id, sizeof(store->id)) == 0);
    assert(os_random(store->key, sizeof(store->key)) == 0);
    return store;
}

void memory_store_set_id(struct memory_store *store, const uint8_t id[LOG_ID_SIZE])
{
    memcpy(store->id, id, sizeof(store->id));
}

static void free_record(struct log_record *record)
{
    free((void *)(uintptr_t)record->head.data);
    free((void *)(uintptr_t)record->body.data);
}

void memory_store_free(struct memory_store *store)
{
    if (!store)
        return;
    for (size_t i = 0; i < store->count; i++)
        free_record(&store->records[i]);
    if (store->intrusion)
        free_record(&store->intruder);
    free(store->records);
    free(store->chains);
    os_cond_deinit(&store->changed);
    os_mutex_deinit(&store->lock);
    free(store);
}

static struct bytes copy(struct bytes bytes)
{
    uint8_t *data = malloc(bytes.size + 1);
    assert(data);
    if (bytes.size > 0)
        memcpy(data, bytes.data, bytes.size);
    return bytes_make(data, bytes.size);
}

static struct log_chain chain_of(const struct memory_store *store)
{
    return store->count > 0 ? store->chains[store->count - 1] : (struct log_chain){0};
}

/* Put a copy of the record at the end. */
static void put(struct memory_store *store, const struct log_record *record)
{
    struct log_chain before = chain_of(store);
    assert(vector_reserve(&store->records, &store->capacity, store->count + 1) == 0);
    assert(vector_reserve(&store->chains, &store->chain_capacity, store->count + 1) == 0);
    struct log_record *kept = &store->records[store->count];
    *kept = *record;
    kept->head = copy(record->head);
    kept->body = copy(record->body);
    log_chain_step(&before, kept, &store->chains[store->count]);
    kept->hashed = false; /* what is read back is looked at anew */
    store->count++;
}

void memory_store_script(struct memory_store *store, enum log_outcome outcome, unsigned count, bool kept)
{
    _os_locked_(&store->lock);
    store->scripted = outcome;
    store->scripted_count = count;
    store->kept = kept;
}

void memory_store_hold(struct memory_store *store)
{
    _os_locked_(&store->lock);
    store->hold = true;
}

void memory_store_release(struct memory_store *store)
{
    _os_locked_(&store->lock);
    store->hold = false;
    os_cond_broadcast(&store->changed);
}

void memory_store_step(struct memory_store *store)
{
    bool held = memory_store_wait_held(store);
    assert(held);
    _os_locked_(&store->lock);
    store->held = false;
    store->step = true;
    os_cond_broadcast(&store->changed);
}

bool memory_store_wait_held(struct memory_store *store)
{
    uint64_t deadline_ns = os_monotonic_ns() + 10 * OS_NS_PER_SECOND;
    _os_locked_(&store->lock);
    while (!store->held)
        if (!os_cond_wait_until(&store->changed, &store->lock, deadline_ns))
            break;
    return store->held;
}

void memory_store_intrude(struct memory_store *store, struct bytes head, struct bytes body)
{
    _os_locked_(&store->lock);
    store->intrusion = true;
    store->intruder = (struct log_record){.head = copy(head), .body = copy(body)};
}

void memory_store_damage(struct memory_store *store, uint64_t position)
{
    _os_locked_(&store->lock);
    store->damaged = position;
}

uint64_t memory_store_batches(struct memory_store *store)
{
    _os_locked_(&store->lock);
    return store->batches;
}

bool memory_store_wait_batches(struct memory_store *store, uint64_t count)
{
    uint64_t deadline_ns = os_monotonic_ns() + 10 * OS_NS_PER_SECOND;
    _os_locked_(&store->lock);
    while (store->batches < count)
        if (!os_cond_wait_until(&store->changed, &store->lock, deadline_ns))
            break;
    return store->batches >= count;
}

/* ---- appending ---- */

static void intrude(struct memory_store *store)
{
    struct log_record record = store->intruder;
    record.position = store->count + 1;
    record.epoch = store->epoch;
    put(store, &record);
    free_record(&store->intruder);
    store->intrusion = false;
}

static enum log_outcome outcome_of(struct memory_store *store, const struct log_batch *batch)
{
    store->failed &= batch->ahead;
    if (store->failed)
        return store->last_failure;
    if (store->intrusion)
        intrude(store);
    if (batch->tail_expected != store->count)
        return LOG_FENCED;
    if (store->scripted_count == 0)
        return LOG_DURABLE;
    store->scripted_count--;
    return store->scripted;
}

static void note_outcome(struct memory_store *store, enum log_outcome outcome)
{
    if (outcome == LOG_FAILED || outcome == LOG_UNKNOWN)
        store->broken = true;
    if (outcome == LOG_DURABLE)
        return;
    store->failed = true;
    /* What was never tried is not unknown. */
    store->last_failure = outcome == LOG_UNKNOWN ? LOG_FAILED : outcome;
}

static void store_batch(struct memory_store *store, struct log_batch *batch)
{
    for (size_t i = 0; i < batch->count; i++)
        for (size_t j = 0; j < batch->entries[i].count; j++) {
            struct log_record *record = &batch->entries[i].records[j];
            if (!batch->verbatim) {
                record->position = store->count + 1;
                record->epoch = store->epoch;
                record->flags = 0;
                assert(record->hashed || os_random(record->salt, sizeof(record->salt)) == 0);
            }
            put(store, record);
        }
    batch->chain_after = chain_of(store);
}

static void land(struct memory_store *store, struct log_batch *batch)
{
    os_mutex_lock(&store->lock);
    enum log_outcome outcome = outcome_of(store, batch);
    while (store->hold && !store->step) {
        store->held = true;
        os_cond_broadcast(&store->changed);
        os_cond_wait(&store->changed, &store->lock);
    }
    store->held = store->step = false;
    if (outcome == LOG_DURABLE || (outcome == LOG_UNKNOWN && store->kept))
        store_batch(store, batch);
    note_outcome(store, outcome);
    os_mutex_unlock(&store->lock);
    batch->done(batch, outcome);
}

/* The oldest batch handed over, when there is one; NULL: the log is being closed. */
static struct log_batch *take_batch(struct memory_log *log)
{
    struct memory_store *store = log->store;
    _os_locked_(&store->lock);
    while (log->queue_count == 0 && !log->closing)
        os_cond_wait(&store->changed, &store->lock);
    if (log->queue_count == 0)
        return NULL;
    struct log_batch *batch = log->queue[0];
    memmove(log->queue, log->queue + 1, --log->queue_count * sizeof(log->queue[0]));
    return batch;
}

static void land_on_thread(void *user)
{
    struct memory_log *log = user;
    for (struct log_batch *batch; (batch = take_batch(log));)
        land(log->store, batch);
}

/* Note that a batch was handed over; with `queued` it waits for the thread. */
static void hand_over(struct memory_log *log, struct log_batch *batch, bool queued)
{
    struct memory_store *store = log->store;
    _os_locked_(&store->lock);
    store->batches++;
    if (queued) {
        assert(log->queue_count < QUEUE_COUNT_MAX);
        log->queue[log->queue_count++] = batch;
    }
    os_cond_broadcast(&store->changed);
}

/* Whether verbatim records continue the chain to the one that is expected. */
static bool continues(struct memory_store *store, struct log_batch *batch)
{
    _os_locked_(&store->lock);
    struct log_chain chain = chain_of(store);
    for (size_t i = 0; i < batch->count; i++)
        for (size_t j = 0; j < batch->entries[i].count; j++)
            log_chain_step(&chain, &batch->entries[i].records[j], &chain);
    return memcmp(&chain, batch->chain_expected, sizeof(chain)) == 0;
}

static bool is_broken(struct memory_store *store)
{
    _os_locked_(&store->lock);
    return store->broken;
}

static int memory_append(struct log *base, struct log_batch *batch)
{
    struct memory_log *log = (struct memory_log *)base;
    if (is_broken(log->store))
        return LOG_E_READ_ONLY;
    if (batch->verbatim && batch->chain_expected && !continues(log->store, batch))
        return LOG_E_CHAIN;
    hand_over(log, batch, log->threaded);
    if (!log->threaded)
        land(log->store, batch);
    return 0;
}

/* ---- reading ---- */

static int memory_next(struct log_reader *base, struct log_record *ret_record)
{
    struct memory_reader *reader = (struct memory_reader *)base;
    _os_locked_(&reader->store->lock);
    if (reader->at == reader->store->count)
        return LOG_E_END;
    if (reader->at + 1 == reader->store->damaged)
        return -EBADMSG;
    *ret_record = reader->store->records[reader->at++];
    return 0;
}

static int memory_seek(struct log_reader *base, uint64_t after)
{
    struct memory_reader *reader = (struct memory_reader *)base;
    _os_locked_(&reader->store->lock);
    reader->at = after < reader->store->count ? after : reader->store->count;
    return 0;
}

static void memory_reader_free(struct log_reader *base)
{
    free(base);
}

static const struct log_reader_ops memory_reader_ops = {memory_next, memory_seek, memory_reader_free};

static int memory_reader_new(struct log *base, uint64_t after, struct log_reader **ret_reader)
{
    struct memory_reader *reader = calloc(1, sizeof(*reader));
    if (!reader)
        return -ENOMEM;
    reader->reader.ops = &memory_reader_ops;
    reader->store = ((struct memory_log *)base)->store;
    int r = memory_seek(&reader->reader, after);
    *ret_reader = &reader->reader;
    return r;
}

/* ---- the rest of the table ---- */

static int memory_replace(struct log *base, const struct log_range *ranges, size_t count, uint64_t from,
                          struct log_replaced *ret_replaced)
{
    struct memory_store *store = ((struct memory_log *)base)->store;
    struct log_replaced replaced = {0};
    _os_locked_(&store->lock);
    if (store->broken)
        return -EIO;
    for (uint64_t at; (at = log_ranges_find(ranges, count, from)) != 0; from = at + 1) {
        struct log_record *record = &store->records[at - 1];
        if (record->flags & LOG_RECORD_STUB)
            continue;
        replaced.count++;
        replaced.body_bytes += record->body.size;
        record->flags |= LOG_RECORD_STUB;
        record->body_size = (uint32_t)record->body.size;
        record->body.size = 0;
        memset(record->salt, 0, sizeof(record->salt));
    }
    *ret_replaced = replaced;
    return 0;
}

static void memory_status(struct log *base, struct log_status *ret_status)
{
    struct memory_store *store = ((struct memory_log *)base)->store;
    _os_locked_(&store->lock);
    struct log_status status = {
        .epoch = store->epoch, .head = store->count, .first = 1, .writable = !store->broken};
    memcpy(status.id, store->id, sizeof(status.id));
    memcpy(status.key, store->key, sizeof(status.key));
    if (store->broken)
        snprintf(status.reason, sizeof(status.reason), "a scripted failure");
    *ret_status = status;
}

static void memory_counters(struct log *base, struct log_counters *ret_counters)
{
    *ret_counters =
        (struct log_counters){.batches = memory_store_batches(((struct memory_log *)base)->store)};
}

static int memory_chain_at(struct log *base, uint64_t position, struct log_chain *ret_chain)
{
    struct memory_store *store = ((struct memory_log *)base)->store;
    _os_locked_(&store->lock);
    if (position > store->count)
        return LOG_E_END;
    *ret_chain = position > 0 ? store->chains[position - 1] : (struct log_chain){0};
    return 0;
}

static int memory_close(struct log *base)
{
    struct memory_log *log = (struct memory_log *)base;
    os_mutex_lock(&log->store->lock);
    log->closing = true;
    os_cond_broadcast(&log->store->changed);
    os_mutex_unlock(&log->store->lock);
    os_thread_join(&log->thread);
    free(log);
    return 0;
}

static const struct log_ops memory_ops = {
    .name = "memory",
    .append = memory_append,
    .reader_new = memory_reader_new,
    .replace = memory_replace,
    .status = memory_status,
    .counters = memory_counters,
    .chain_at = memory_chain_at,
    .close = memory_close,
};

struct log *memory_log_open(struct memory_store *store, bool threaded)
{
    struct memory_log *log = calloc(1, sizeof(*log));
    if (!log)
        return NULL;
    log->log.ops = &memory_ops;
    log->store = store;
    log->threaded = threaded;
    os_mutex_lock(&store->lock);
    store->epoch++;
    store->broken = store->failed = false;
    os_mutex_unlock(&store->lock);
    if (threaded && os_thread_start(&log->thread, "memory-log", land_on_thread, log) != 0) {
        free(log);
        return NULL;
    }
    return &log->log;
}
