/* What is asked of a journal beside its events: versions, times, keys, the chain, figures. */

#include "base/cleanup.h"
#include "journal/state.h"

uint64_t journal_head(const struct journal *journal)
{
    return atomic_load_explicit(&journal->head, memory_order_acquire);
}

uint64_t journal_tail(const struct journal *journal)
{
    return index_last(journal->index);
}

uint64_t journal_replaced_count(const struct journal *journal)
{
    return log_replaced_count(journal->log);
}

int journal_may_match(struct journal *journal, const struct journal_query *query, uint64_t after, bool *ret_may)
{
    /* The index locks itself, for each item: what comes meanwhile comes after the moment that is told of. */
    int r = 0;
    bool may = query->count == 0 && journal_head(journal) > after;
    for (size_t i = 0; r == 0 && !may && i < query->count; i++)
        r = index_may_match(journal->index, &query->items[i], after, &may);
    if (r == 0)
        *ret_may = may;
    return r;
}

bool journal_is_incomplete(const struct journal *journal)
{
    return atomic_load_explicit(&journal->incomplete, memory_order_acquire);
}

struct journal_id journal_id(const struct journal *journal)
{
    return journal->id;
}

int journal_tail_version(struct journal *journal, struct bytes stream, uint64_t *ret_version)
{
    return index_stream_version(journal->index, stream, ret_version);
}

/* Of versions 1 to `version` of a stream the highest that is not above the head. */
static int shown_version(struct journal *journal, struct bytes stream, uint64_t head, uint64_t *version)
{
    _cleanup_(arena_deinit) struct arena arena = {0};
    struct index_scan *scan = NULL;
    uint64_t low = 0, high = *version, position;
    int r = index_scan_new_stream(journal->index, stream, &arena, &scan);
    while (r == 0 && low < high) {
        uint64_t middle = high - (high - low) / 2;
        r = index_scan_version(scan, middle, &position);
        if (r == 0 && position <= head)
            low = middle;
        else
            high = middle - 1;
    }
    index_scan_end(scan);
    *version = low;
    return r;
}

int journal_await_index(struct journal *journal)
{
    return index_await_repair(journal->index);
}

int journal_stream_version(struct journal *journal, struct bytes stream, uint64_t *ret_version)
{
    if (journal_is_incomplete(journal))
        return -EBADMSG;
    uint64_t head = journal_head(journal), version; /* first: whoever is shown an event may ask for its version */
    int r = index_stream_version(journal->index, stream, &version);
    if (r == 0 && version > 0 && journal_tail(journal) > head)
        r = shown_version(journal, stream, head, &version);
    if (r == 0)
        *ret_version = version;
    return r;
}

/* Walk from the sampled position before that time to the last event not later than it. */
static int last_not_later(struct journal *journal, uint64_t position, uint64_t head, int64_t time_us,
                          uint64_t *ret_position)
{
    struct fetch fetch;
    struct journal_event event;
    int r = fetch_init(&fetch, journal->log);
    if (r < 0)
        return r;
    while (position < head && (r = fetch_event(&fetch, position + 1, &event)) == 0 && event.time_us <= time_us)
        position++;
    fetch_deinit(&fetch);
    if (r == 0 && position == head && journal_is_incomplete(journal))
        r = -EBADMSG; /* it may be behind the damage */
    if (r == 0)
        *ret_position = position;
    return r;
}

int journal_position_at(struct journal *journal, int64_t time_us, uint64_t *ret_position)
{
    uint64_t head = journal_head(journal), position;
    if (corrections_find(journal, time_us, &position) && !(position == head && journal_is_incomplete(journal))) {
        *ret_position = position;
        return 0;
    }
    if (index_find_time(journal->index, time_us, &position) < 0)
        position = 0; /* the index cannot be read: from the beginning, then */
    return last_not_later(journal, position < head ? position : head, head, time_us, ret_position);
}

/* Settle the candidates for a key on their records. */
static int find_key(struct journal *journal, struct fetch *fetch, struct bytes key,
                           struct journal_event *ret_event)
{
    struct index_probe probe = {0};
    for (;;) {
        uint64_t position;
        int r = index_find_key(journal->index, key, &probe, &position);
        if (r == 0 && position == 0)
            return journal_is_incomplete(journal) ? -EBADMSG : JOURNAL_E_END;
        if (r == 0 && position > journal_head(journal))
            continue;
        if (r == 0)
            r = fetch_event(fetch, position, ret_event);
        if (r < 0 || bytes_equal(ret_event->key, key))
            return r;
    }
}

int journal_find_key(struct journal *journal, struct bytes key, uint64_t *ret_first, uint64_t *ret_last,
                     uint8_t ret_key_hash[16])
{
    struct fetch fetch;
    struct journal_event event;
    int r = fetch_init(&fetch, journal->log);
    if (r < 0)
        return r;
    r = find_key(journal, &fetch, key, &event);
    if (r == 0) {
        *ret_first = event.append_first;
        *ret_last = event.append_first + event.append_count - 1;
        memcpy(ret_key_hash, event.key_hash.data, CODEC_KEY_HASH_SIZE);
    }
    fetch_deinit(&fetch);
    return r;
}

int journal_chain_at(struct journal *journal, uint64_t position, struct log_chain *ret_chain)
{
    if (position > journal_tail(journal))
        return journal_is_incomplete(journal) ? -EBADMSG : JOURNAL_E_END;
    int r = log_chain_at(journal->log, position, ret_chain);
    return r > 0 ? JOURNAL_E_END : r;
}

/* ---- state and figures ---- */

void journal_status(struct journal *journal, struct journal_status *ret_status)
{
    struct journal_status status = {0};
    struct index_figures figures;
    log_status(journal->log, &status.log);
    log_counters(journal->log, &status.counters);
    index_figures(journal->index, &figures);
    status.streams = figures.streams;
    status.events = journal_head(journal);
    status.clock_ahead_us = corrections_ahead_us(journal);
    status.clock_leap_us = atomic_load(&journal->source.leap_us);
    os_mutex_lock(&journal->corrections_lock);
    status.clock_corrections = journal->correction_count;
    os_mutex_unlock(&journal->corrections_lock);
    status.incomplete = journal_is_incomplete(journal);
    status.index_bytes = figures.memory;
    status.index_runs = figures.runs;
    status.index_disk_bytes = figures.runs_bytes;
    status.index_checkpoint = figures.checkpoint;
    status.index_rebuilds = figures.rebuilds;
    status.index_failure = figures.failure;
    os_mutex_lock(&journal->queue_lock);
    status.queue_count = journal->queue_count;
    os_mutex_unlock(&journal->queue_lock);
    os_mutex_lock(&journal->state_lock);
    status.writable = journal->writable;
    status.full = journal->full;
    memcpy(status.reason, journal->reason, sizeof(status.reason));
    status.appends = journal->appends;
    status.conflicts = journal->conflicts;
    status.replays = journal->replays;
    os_mutex_unlock(&journal->state_lock);
    /* Damage that a reader came upon ends writing in the log first. */
    if (status.writable && !status.log.writable) {
        status.writable = false;
        memcpy(status.reason, status.log.reason, sizeof(status.reason));
    }
    *ret_status = status;
}
