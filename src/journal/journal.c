/* The journal as a whole: opening, closing, what is published, and who waits for it.
 *
 * The head is the journal's, not the log's: it moves only after the index has everything below it, in one piece with it
 * under index_lock, so that whoever reads the index under that lock and looks at the head sees one moment.
 */

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "journal/query.h"
#include "journal/state.h"
#include "journal/validate.h"

enum { PROGRESS_STEP = 65536 }; /* records between two reports while opening */

/* ---- publishing ---- */

static int index_event(struct journal *journal, const struct journal_event *event)
{
    int r = index_add(journal->index, event);
    if (r == 0)
        r = times_add(&journal->times, event->position, event->time_us);
    return r;
}

int journal_publish(struct journal *journal, const struct journal_event *events, size_t count)
{
    int r = 0;
    os_rwlock_write(&journal->index_lock);
    for (size_t i = 0; r == 0 && i < count; i++)
        r = index_event(journal, &events[i]);
    if (r == 0) {
        assert(count == 0 || index_last(journal->index) == events[count - 1].position);
        atomic_store_explicit(&journal->head, index_last(journal->index), memory_order_release);
    }
    os_rwlock_unlock(&journal->index_lock);
    return r;
}

/* One record more, under the index lock. */
static int catch_up_record(struct journal *journal, const struct log_record *record, char *ret_error)
{
    struct codec_tags tags;
    struct journal_event event;
    const char *rule = "its position is out of order";
    int r = record->position == index_last(journal->index) + 1 ? codec_read(record, &tags, &event, &rule)
                                                               : CODEC_E_DAMAGED;
    if (r == 0 && event.stream.size > 0 &&
        event.version != index_stream_version(journal->index, event.stream) + 1) {
        rule = "its version does not continue its stream"; /* J7 */
        r = CODEC_E_DAMAGED;
    }
    if (r != 0) {
        snprintf(ret_error, 256, "the event at position %" PRIu64 " cannot be read: %s", record->position,
                 rule);
        return r == CODEC_E_NEWER ? -EPROTO : -EBADMSG;
    }
    if (event.time_us > journal->source.time_last_us)
        journal->source.time_last_us = event.time_us;
    r = index_event(journal, &event);
    if (r < 0)
        snprintf(ret_error, 256, "no memory for the index at position %" PRIu64, record->position);
    return r;
}

static void progress(const struct journal *journal, uint64_t head)
{
    uint64_t done = index_last(journal->index);
    if (journal->options.on_progress && (done % PROGRESS_STEP == 0 || done == head))
        journal->options.on_progress(journal->options.user, done, head > done ? head : done);
}

static int catch_up_locked(struct journal *journal, struct log_reader *log_reader, char *ret_error)
{
    struct log_status status;
    log_status(journal->log, &status);
    for (;;) {
        struct log_record record;
        int r = log_reader_next(log_reader, &record);
        if (r > 0)
            return 0;
        if (r < 0) {
            log_status(journal->log, &status);
            snprintf(ret_error, 256, "%s", status.reason[0] ? status.reason : "the log cannot be read");
            return r;
        }
        r = catch_up_record(journal, &record, ret_error);
        if (r < 0)
            return r;
        progress(journal, status.head);
    }
}

int journal_catch_up(struct journal *journal, char *ret_error)
{
    struct log_reader *log_reader;
    ret_error[0] = 0;
    int r = log_reader_new(journal->log, index_last(journal->index), &log_reader);
    if (r != 0) {
        snprintf(ret_error, 256, "the log cannot be read: %s", strerror(r < 0 ? -r : EIO));
        return r < 0 ? r : -EIO;
    }
    os_rwlock_write(&journal->index_lock);
    r = catch_up_locked(journal, log_reader, ret_error);
    atomic_store_explicit(&journal->head, index_last(journal->index), memory_order_release);
    os_rwlock_unlock(&journal->index_lock);
    log_reader_free(log_reader);
    return r;
}

/* ---- opening and closing ---- */

static void init_locks(struct journal *journal)
{
    os_rwlock_init(&journal->index_lock);
    os_mutex_init(&journal->queue_lock);
    os_cond_init(&journal->queue_filled);
    os_mutex_init(&journal->listen_lock);
    os_mutex_init(&journal->state_lock);
    os_cond_init(&journal->moved);
    os_cond_init(&journal->waiter_gone);
}

static void journal_free(struct journal *journal)
{
    batch_deinit(&journal->batch);
    past_deinit(&journal->past);
    times_deinit(&journal->times);
    index_free(journal->index);
    (void)log_close(journal->log);
    os_rwlock_deinit(&journal->index_lock);
    os_mutex_deinit(&journal->queue_lock);
    os_cond_deinit(&journal->queue_filled);
    os_mutex_deinit(&journal->listen_lock);
    os_mutex_deinit(&journal->state_lock);
    os_cond_deinit(&journal->moved);
    os_cond_deinit(&journal->waiter_gone);
    free(journal);
}

/* Whether this journal may write, as far as options and log say. */
static void set_writable(struct journal *journal, const struct log_status *status)
{
    journal->writable = status->writable && !journal->options.read_only;
    if (journal->writable)
        return;
    snprintf(journal->reason, sizeof(journal->reason), "%s",
             status->reason[0] ? status->reason : "opened for reading only");
}

static int start(struct journal *journal, char *error)
{
    struct log_status status;
    log_status(journal->log, &status);
    memcpy(journal->id.bytes, status.id, sizeof(journal->id.bytes));
    memcpy(journal->key, status.key, sizeof(journal->key));
    set_writable(journal, &status);
    source_init(&journal->source, journal->options.clock, journal->options.random);
    int r = index_new(journal->key, 0, 0, &journal->index);
    if (r == 0)
        r = journal_catch_up(journal, error);
    if (r == -EBADMSG) {
        /* Damage: what is before it can be read, and nothing may be written behind it (P6). */
        journal_stop_writing(journal, error);
        r = 0;
    }
    if (r == 0)
        r = past_init(&journal->past, journal->log, journal->key, journal->index);
    batch_init(&journal->batch, &journal->past, &journal->source);
    if (r == 0 && journal->writable && !journal->options.follower)
        r = journal_writer_start(journal);
    return r;
}

int journal_open(struct log *log, const struct journal_options *options, struct journal **ret_journal,
                 char *ret_error)
{
    char error[256] = "";
    struct journal *journal = calloc(1, sizeof(*journal));
    if (!journal) {
        (void)log_close(log);
        return -ENOMEM;
    }
    journal->log = log;
    journal->options = options ? *options : (struct journal_options){0};
    append_list_init(&journal->queue);
    init_locks(journal);
    int r = start(journal, error);
    if (r == 0) {
        *ret_journal = journal;
        return 0;
    }
    if (ret_error)
        snprintf(ret_error, 256, "%s", error[0] ? error : strerror(-r));
    journal_free(journal);
    return r;
}

void journal_close(struct journal *journal)
{
    if (!journal)
        return;
    os_mutex_lock(&journal->state_lock);
    journal->ending = true;
    os_cond_broadcast(&journal->moved);
    while (journal->waiter_count > 0)
        os_cond_wait(&journal->waiter_gone, &journal->state_lock);
    os_mutex_unlock(&journal->state_lock);
    journal_writer_stop(journal);
    journal_free(journal);
}

/* ---- writable or not ---- */

void journal_stop_writing(struct journal *journal, const char *reason)
{
    os_mutex_lock(&journal->state_lock);
    if (journal->writable || !journal->reason[0])
        snprintf(journal->reason, sizeof(journal->reason), "%s", reason);
    journal->writable = false;
    os_mutex_unlock(&journal->state_lock);
}

bool journal_is_writable(struct journal *journal, char ret_reason[256])
{
    os_mutex_lock(&journal->state_lock);
    bool writable = journal->writable;
    if (ret_reason)
        memcpy(ret_reason, journal->reason, sizeof(journal->reason));
    os_mutex_unlock(&journal->state_lock);
    return writable;
}

/* ---- submitting ---- */

static int check_alone(struct journal *journal, const struct journal_append *append,
                       struct journal_result *result)
{
    if (!journal_is_writable(journal, result->detail))
        return JOURNAL_E_READ_ONLY;
    if (journal->options.follower) {
        snprintf(result->detail, sizeof(result->detail), "this journal follows another one");
        return JOURNAL_E_READ_ONLY;
    }
    result->detail[0] = 0;
    if (append->prepare)
        return 0;
    if (append->event_count == 0) {
        snprintf(result->detail, sizeof(result->detail), "an append has at least one event");
        return JOURNAL_E_INVALID;
    }
    return validate_append(append, result);
}

static int enqueue(struct journal *journal, struct journal_append *append, struct journal_result *result)
{
    int r = 0;
    os_mutex_lock(&journal->queue_lock);
    if (journal->closing) {
        snprintf(result->detail, sizeof(result->detail), "the journal is closing");
        r = JOURNAL_E_READ_ONLY;
    } else if (journal->queue_count >= JOURNAL_QUEUE_COUNT_MAX) {
        snprintf(result->detail, sizeof(result->detail), "%d appends are waiting already",
                 JOURNAL_QUEUE_COUNT_MAX);
        r = JOURNAL_E_BUSY;
    } else {
        bool first = !journal->queue.first;
        append_list_push(&journal->queue, append);
        journal->queue_count++;
        if (first)
            os_cond_signal(&journal->queue_filled);
    }
    os_mutex_unlock(&journal->queue_lock);
    return r;
}

int journal_submit(struct journal *journal, struct journal_append *append, struct journal_result *ret_result)
{
    struct journal_result result = {0};
    int r = check_alone(journal, append, &result);
    if (r == 0)
        r = enqueue(journal, append, &result);
    result.answer = r;
    if (r != 0 && ret_result)
        *ret_result = result;
    return r;
}

struct waiting {
    struct os_mutex lock;
    struct os_cond ended;
    bool done;
    struct journal_result result;
    void (*done_before)(struct journal_append *append, const struct journal_result *result);
    void *user_before;
};

static void wake(struct journal_append *append, const struct journal_result *result)
{
    struct waiting *waiting = append->user;
    append->done = waiting->done_before;
    append->user = waiting->user_before;
    os_mutex_lock(&waiting->lock);
    waiting->result = *result;
    waiting->result.streams = NULL;
    waiting->result.conflicts = NULL;
    waiting->result.stream_count = waiting->result.conflict_count = 0;
    waiting->done = true;
    os_cond_signal(&waiting->ended);
    os_mutex_unlock(&waiting->lock);
}

int journal_append_wait(struct journal *journal, struct journal_append *append,
                        struct journal_result *ret_result)
{
    struct waiting waiting = {.done_before = append->done, .user_before = append->user};
    os_mutex_init(&waiting.lock);
    os_cond_init(&waiting.ended);
    append->done = wake;
    append->user = &waiting;
    int r = journal_submit(journal, append, &waiting.result);
    if (r == 0) {
        os_mutex_lock(&waiting.lock);
        while (!waiting.done)
            os_cond_wait(&waiting.ended, &waiting.lock);
        os_mutex_unlock(&waiting.lock);
    } else {
        append->done = waiting.done_before;
        append->user = waiting.user_before;
    }
    os_cond_deinit(&waiting.ended);
    os_mutex_deinit(&waiting.lock);
    if (ret_result)
        *ret_result = waiting.result;
    return waiting.result.answer;
}

/* ---- looking ---- */

uint64_t journal_head(const struct journal *journal)
{
    return atomic_load_explicit(&journal->head, memory_order_acquire);
}

struct journal_id journal_id(const struct journal *journal)
{
    return journal->id;
}

uint64_t journal_stream_version(struct journal *journal, struct bytes stream)
{
    os_rwlock_read(&journal->index_lock);
    uint64_t version = index_stream_version(journal->index, stream);
    os_rwlock_unlock(&journal->index_lock);
    return version;
}

/* Walk from the sampled position before that time to the last event not later than it. */
static uint64_t last_not_later(struct journal *journal, uint64_t position, uint64_t head, int64_t time_us)
{
    struct fetch fetch;
    struct journal_event event;
    if (fetch_init(&fetch, journal->log) < 0)
        return position;
    while (position < head && fetch_event(&fetch, position + 1, &event) == 0 && event.time_us <= time_us)
        position++;
    fetch_deinit(&fetch);
    return position;
}

uint64_t journal_position_at(struct journal *journal, int64_t time_us)
{
    os_rwlock_read(&journal->index_lock);
    uint64_t position = times_find(&journal->times, time_us);
    uint64_t head = journal_head(journal);
    os_rwlock_unlock(&journal->index_lock);
    return position == 0 ? 0 : last_not_later(journal, position, head, time_us);
}

/* Under the index lock: settle the candidates for a key on their records. */
static int find_key_locked(struct journal *journal, struct fetch *fetch, struct bytes key,
                           struct journal_event *ret_event)
{
    struct index_probe probe = {0};
    for (uint64_t position; (position = index_find_key(journal->index, key, &probe)) != 0;) {
        int r = fetch_event(fetch, position, ret_event);
        if (r < 0 || bytes_equal(ret_event->key, key))
            return r;
    }
    return JOURNAL_E_END;
}

int journal_find_key(struct journal *journal, struct bytes key, uint64_t *ret_first, uint64_t *ret_last,
                     uint8_t ret_key_hash[16])
{
    struct fetch fetch;
    struct journal_event event;
    int r = fetch_init(&fetch, journal->log);
    if (r < 0)
        return r;
    os_rwlock_read(&journal->index_lock);
    r = find_key_locked(journal, &fetch, key, &event);
    os_rwlock_unlock(&journal->index_lock);
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
    if (position > journal_head(journal))
        return JOURNAL_E_END;
    int r = log_chain_at(journal->log, position, ret_chain);
    return r > 0 ? JOURNAL_E_END : r;
}

/* ---- waiting and listening ---- */

void journal_listen(struct journal *journal, struct journal_listener *listener)
{
    os_mutex_lock(&journal->listen_lock);
    listener->previous = NULL;
    listener->next = journal->listeners;
    if (listener->next)
        listener->next->previous = listener;
    journal->listeners = listener;
    os_mutex_unlock(&journal->listen_lock);
}

void journal_unlisten(struct journal *journal, struct journal_listener *listener)
{
    os_mutex_lock(&journal->listen_lock);
    if (listener->next)
        listener->next->previous = listener->previous;
    if (listener->previous)
        listener->previous->next = listener->next;
    else
        journal->listeners = listener->next;
    listener->next = listener->previous = NULL;
    os_mutex_unlock(&journal->listen_lock);
}

void journal_notify(struct journal *journal)
{
    uint64_t head = journal_head(journal);
    os_mutex_lock(&journal->state_lock);
    os_cond_broadcast(&journal->moved);
    os_mutex_unlock(&journal->state_lock);
    os_mutex_lock(&journal->listen_lock);
    for (struct journal_listener *listener = journal->listeners; listener; listener = listener->next)
        listener->moved(listener, head);
    os_mutex_unlock(&journal->listen_lock);
}

int journal_wait(struct journal *journal, uint64_t after, uint32_t timeout_ms)
{
    uint64_t deadline_ns = os_monotonic_ns() + timeout_ms * OS_NS_PER_MS;
    int r = 0;
    os_mutex_lock(&journal->state_lock);
    journal->waiter_count++;
    while (journal_head(journal) <= after && r == 0) {
        if (journal->ending)
            r = -ECANCELED;
        else if (!os_cond_wait_until(&journal->moved, &journal->state_lock, deadline_ns))
            r = journal_head(journal) <= after ? -ETIMEDOUT : 0;
    }
    if (--journal->waiter_count == 0)
        os_cond_signal(&journal->waiter_gone);
    os_mutex_unlock(&journal->state_lock);
    return r;
}

/* ---- state and figures ---- */

void journal_status(struct journal *journal, struct journal_status *ret_status)
{
    struct journal_status status = {0};
    log_status(journal->log, &status.log);
    log_counters(journal->log, &status.counters);
    os_rwlock_read(&journal->index_lock);
    status.streams = index_stream_count(journal->index);
    status.events = journal_head(journal);
    status.index_bytes = index_size(journal->index);
    os_rwlock_unlock(&journal->index_lock);
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
    *ret_status = status;
}
