/* A follower stores its leader's records as they are. They go the way of every batch – checked, written with one write
 * and one sync, published – but nothing is decided: the leader has done that. */

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/vector.h"
#include "journal/scavenge_said.h"
#include "journal/state.h"

/* Read the record and put its event on top of the past, where versions are looked up. */
static int take_record(struct journal *journal, const struct log_record *record)
{
    struct batch *batch = journal_flight(journal, 0);
    struct codec_tags tags;
    struct journal_event event;
    if (record->position != past_tail(&journal->past) + 1)
        return JOURNAL_E_DIVERGED;
    if (codec_read(record, &tags, &event, NULL) != 0)
        return -EBADMSG;
    uint64_t version = 0;
    int r = event.stream.size > 0 ? past_stream_version(&journal->past, event.stream, &version) : 0;
    if (r < 0)
        return r;
    if (event.stream.size > 0 && event.version != version + 1)
        return -EBADMSG; /* J7 */
    struct bytes *kept = arena_alloc_array(&batch->arena, event.tag_count, sizeof(*kept));
    if (!kept)
        return -ENOMEM;
    memcpy(kept, tags.tags, event.tag_count * sizeof(*kept));
    event.tags = kept;
    return past_push(&journal->past, &event);
}

/* One log entry for each append. */
static int take_append(struct journal *journal, struct log_record *records, size_t count, size_t *taken)
{
    struct batch *batch = journal_flight(journal, 0);
    size_t size = 0;
    uint64_t first = past_tail(&journal->past) + 1;
    do {
        if (*taken + size == count)
            return -EINVAL;
        int r = take_record(journal, &records[*taken + size]);
        if (r != 0)
            return r;
        if (layer_event(&batch->layer, layer_last(&batch->layer))->append_first != first)
            return -EINVAL;
    } while (!codec_ends_append(&records[*taken + size++]));
    int r = vector_reserve(&batch->entries, &batch->entry_capacity, batch->entry_count + 1);
    if (r < 0)
        return r;
    batch->entries[batch->entry_count++] = (struct log_entry){.records = records + *taken, .count = size};
    *taken += size;
    return 0;
}

static int conclude(struct journal *journal, const struct batch *batch)
{
    static const struct {
        int answer;
        const char *reason; /* not NULL: writing ends */
    } conclusions[] = {
        [LOG_FENCED] = {JOURNAL_E_READ_ONLY, "another writer has taken over"},
        [LOG_FULL] = {JOURNAL_E_FULL, NULL},
        [LOG_FAILED] = {JOURNAL_E_FAILED, "writing failed: reopen the journal"},
        [LOG_UNKNOWN] = {JOURNAL_E_UNKNOWN, "the log cannot tell what it holds: reopen the journal"},
    };
    enum log_outcome outcome = batch->outcome;
    if (batch->taken < 0)
        return batch->taken;
    switch (batch->taken) {
    case 0: break;
    case LOG_E_CHAIN: return JOURNAL_E_DIVERGED;
    case LOG_E_TOO_LARGE: return JOURNAL_E_TOO_LARGE;
    default: outcome = LOG_FENCED;
    }
    os_mutex_lock(&journal->state_lock);
    journal->full = outcome == LOG_FULL;
    os_mutex_unlock(&journal->state_lock);
    if (outcome != LOG_DURABLE && conclusions[outcome].reason)
        journal_stop_writing(journal, conclusions[outcome].reason);
    if (outcome != LOG_DURABLE)
        return conclusions[outcome].answer;
    if (journal_publish(journal, batch->layer.events, batch->layer.event_count) < 0) {
        journal_stop_writing(journal, "the index could not be carried on: reopen the journal");
        return JOURNAL_E_UNKNOWN;
    }
    journal_notify(journal);
    return 0;
}

/* Check and store these; `chain`: after the last one, or NULL when it has been checked. */
static int store(struct journal *journal, struct log_record *records, size_t count,
                 const struct log_chain *chain)
{
    struct batch *batch = journal_flight(journal, 0);
    int r = 0;
    if (count == 0)
        return 0;
    if (index_try_again(journal->index) < 0)
        return JOURNAL_E_FULL; /* of whatever the index's disk suffers: the follower waits */
    batch_begin(batch);
    for (size_t taken = 0; r == 0 && taken < count;)
        r = take_append(journal, records, count, &taken);
    if (r == 0) {
        batch->log_batch.verbatim = true;
        batch->log_batch.chain_expected = chain;
        journal_flight_send(journal, batch, true);
        journal_flight_wait(journal, batch);
        r = conclude(journal, batch);
    }
    past_drop(&journal->past);
    return r;
}

/* ---- what the leader took away ---- */

/* S3: the stubs first, then the event that says so. */
static int take_away(struct journal *journal, const struct log_record *record)
{
    _cleanup_(scavenge_ranges_deinit) struct scavenge_ranges ranges = {0};
    struct log_replaced replaced = {0};
    struct codec_tags tags;
    struct journal_event event;
    if (codec_read(record, &tags, &event, NULL) != 0)
        return -EBADMSG;
    int r = scavenge_said_read(&event, &ranges);
    if (r == 0)
        r = scavenge_replace(journal->log, &ranges, &replaced);
    switch (r) {
    case LOG_E_READ_ONLY: return JOURNAL_E_READ_ONLY;
    case -ENOSPC: return JOURNAL_E_FULL;
    default: return r;
    }
}

/* Before the first of them is stored: the chain behind the last. Costs a hash a record, so only when they are not stored
 * in one go. */
static int check_chain(struct journal *journal, struct log_record *records, size_t count,
                       const struct log_chain *expected)
{
    struct log_chain chain;
    int r = journal_chain_at(journal, index_last(journal->index), &chain);
    for (size_t i = 0; r == 0 && i < count; i++)
        log_chain_step(&chain, &records[i], &chain);
    if (r == 0 && memcmp(&chain, expected, sizeof(chain)) != 0)
        r = JOURNAL_E_DIVERGED;
    return r;
}

static size_t find_said(const struct log_record *records, size_t from, size_t count)
{
    while (from < count && !scavenge_said_in(&records[from]))
        from++;
    return from;
}

int journal_replicate(struct journal *journal, struct log_record *records, size_t count,
                      const struct log_chain *chain)
{
    size_t said = find_said(records, 0, count), begin = 0;
    if (!journal->options.follower || !journal_is_writable(journal, NULL))
        return JOURNAL_E_READ_ONLY;
    if (said == count)
        return store(journal, records, count, chain);
    int r = chain ? check_chain(journal, records, count, chain) : 0;
    for (; r == 0 && said < count; begin = said, said = find_said(records, said + 1, count)) {
        r = store(journal, records + begin, said - begin, NULL);
        if (r == 0)
            r = take_away(journal, &records[said]);
    }
    return r == 0 ? store(journal, records + begin, count - begin, NULL) : r;
}

bool journal_record_ends_append(const struct log_record *record)
{
    return codec_ends_append(record);
}

int journal_log_reader(struct journal *journal, uint64_t after, struct log_reader **ret_reader)
{
    return log_reader_new(journal->log, after, ret_reader);
}
