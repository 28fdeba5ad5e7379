/* The journal as a whole: opening, closing, and what is published.
 *
 * The head is the journal's, not the log's: it moves only after the index has everything below it, in one piece with it
 * under index_lock. What is found in the index is above the head while that lock is held; and in a log that answers before
 * it syncs (LOG_ASYNC) until the sync, for what decides on the next append must see it, and nobody else may (J3).
 */

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "journal/scavenge_said.h"
#include "journal/state.h"

enum {
    PROGRESS_STEP = 65536, /* records between two reports while opening */
    ROOM_STEP = 1024,      /* records between two looks at whether the index can take more */
};

/* ---- publishing ---- */

/* index_lock is held. */
static void move_head(struct journal *journal)
{
    uint64_t last = index_last(journal->index), synced = log_synced(journal->log);
    uint64_t head = last < synced ? last : synced;
    if (head > journal_head(journal))
        atomic_store_explicit(&journal->head, head, memory_order_release);
}

static void on_synced(void *user)
{
    struct journal *journal = user;
    uint64_t head = journal_head(journal);
    os_rwlock_write(&journal->index_lock);
    move_head(journal);
    os_rwlock_unlock(&journal->index_lock);
    if (journal_head(journal) > head)
        journal_notify(journal);
}

int journal_publish(struct journal *journal, const struct journal_event *events, size_t count)
{
    int r = 0;
    index_make_room(journal->index);
    os_rwlock_write(&journal->index_lock);
    for (size_t i = 0; r == 0 && i < count; i++)
        r = index_add(journal->index, &events[i]);
    for (size_t i = 0; r == 0 && i < count; i++)
        r = corrections_note(journal, &events[i]);
    if (r == 0) {
        assert(count == 0 || index_last(journal->index) == events[count - 1].position);
        move_head(journal);
    }
    os_rwlock_unlock(&journal->index_lock);
    return r;
}

/* One record more. */
static int catch_up_record(struct journal *journal, const struct log_record *record, char *ret_error)
{
    struct codec_tags tags;
    struct journal_event event;
    const char *rule = "its position is out of order";
    int r = record->position == index_last(journal->index) + 1 ? codec_read(record, &tags, &event, &rule)
                                                               : CODEC_E_DAMAGED;
    uint64_t version = 0;
    if (r == 0 && event.stream.size > 0) {
        int asked = index_stream_version(journal->index, event.stream, &version);
        if (asked < 0) {
            snprintf(ret_error, 256, "the index cannot be read at position %" PRIu64, record->position);
            return asked;
        }
    }
    if (r == 0 && event.stream.size > 0 && event.version != version + 1) {
        rule = "its version does not continue its stream"; /* J7 */
        r = CODEC_E_DAMAGED;
    }
    if (r != 0) {
        snprintf(ret_error, 256, "the event at position %" PRIu64 " cannot be read: %s", record->position,
                 rule);
        return r == CODEC_E_NEWER ? -EPROTO : -EBADMSG;
    }
    if (event.time_us > journal->source.time_last_us || journal_is_correction(&event))
        journal->source.time_last_us = event.time_us;
    r = corrections_note(journal, &event);
    if (r < 0)
        return r;
    if (record->position % ROOM_STEP == 0)
        index_make_room(journal->index);
    os_rwlock_write(&journal->index_lock);
    r = index_add(journal->index, &event);
    os_rwlock_unlock(&journal->index_lock);
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

static int catch_up(struct journal *journal, struct log_reader *log_reader, char *ret_error)
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
    r = catch_up(journal, log_reader, ret_error);
    if (r == -EBADMSG)
        atomic_store_explicit(&journal->incomplete, true, memory_order_release);
    os_rwlock_write(&journal->index_lock);
    move_head(journal);
    os_rwlock_unlock(&journal->index_lock);
    log_reader_free(log_reader);
    return r;
}

int journal_refresh(struct journal *journal)
{
    char error[256];
    uint64_t head = journal_head(journal);
    if (!journal->options.read_only)
        return 0;
    os_mutex_lock(&journal->refresh_lock); /* one at a time adds to the index */
    int r = journal_catch_up(journal, error);
    os_mutex_unlock(&journal->refresh_lock);
    if (journal_head(journal) > head)
        journal_notify(journal);
    return r;
}

/* ---- opening and closing ---- */

static void init_locks(struct journal *journal)
{
    os_rwlock_init(&journal->index_lock);
    os_mutex_init(&journal->queue_lock);
    os_cond_init(&journal->queue_filled);
    os_cond_init(&journal->task_done);
    os_cond_init(&journal->landed);
    os_mutex_init(&journal->listen_lock);
    os_mutex_init(&journal->corrections_lock);
    os_mutex_init(&journal->state_lock);
    os_mutex_init(&journal->refresh_lock);
    os_cond_init(&journal->moved);
    os_cond_init(&journal->waiter_gone);
}

static void journal_free(struct journal *journal)
{
    log_on_synced(journal->log, NULL, NULL);
    for (size_t i = 0; i < JOURNAL_BATCHES_IN_FLIGHT_MAX; i++)
        batch_deinit(&journal->batches[i]);
    past_deinit(&journal->past);
    index_free(journal->index);
    (void)log_close(journal->log);
    os_rwlock_deinit(&journal->index_lock);
    os_mutex_deinit(&journal->queue_lock);
    os_cond_deinit(&journal->queue_filled);
    os_cond_deinit(&journal->task_done);
    os_cond_deinit(&journal->landed);
    os_mutex_deinit(&journal->listen_lock);
    os_mutex_deinit(&journal->corrections_lock);
    free(journal->corrections);
    os_mutex_deinit(&journal->state_lock);
    os_mutex_deinit(&journal->refresh_lock);
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

/* A disk that is full, or fails, keeps bodies that were to go; that is said, and the next run tries again. Reading what was
 * said must not fail. */
static int finish_scavenge(struct journal *journal)
{
    int r = scavenge_redo(journal);
    struct log_status status;

    log_status(journal->log, &status);
    if (!status.writable)
        journal_stop_writing(journal, status.reason);
    return r == -ENOMEM ? r : 0;
}

/* In an index on the disk they were not met on the way. Behind damage there is nothing to be read. */
static int load_corrections(struct journal *journal)
{
    os_mutex_lock(&journal->corrections_lock);
    journal->correction_count = 0; /* those behind the index's checkpoint came first */
    os_mutex_unlock(&journal->corrections_lock);
    int r;
    do
        r = corrections_load(journal);
    while (r == -EAGAIN && journal_await_index(journal) == 0);
    return r == -EBADMSG ? 0 : r;
}

/* Fences that a crash, or an older copy of the keys, has left to obey. Behind damage there is nothing to be read, and on a full
 * disk they are obeyed in memory: whoever asks again does the rest. */
static int obey_fences(struct journal *journal)
{
    uint64_t after = 0;
    int r;
    do
        r = journal_obey_fences(journal, &after);
    while (r == -EAGAIN && journal_await_index(journal) == 0);
    return r == -EBADMSG || r == -ENOSPC ? 0 : r;
}

/* The index with what its folder says; in memory, if there is no folder. */
static int open_index(struct journal *journal)
{
    const struct journal_options *options = &journal->options;
    struct index_options wanted = {.file = options->index_file,
                                   .folder = options->index_folder,
                                   .log = journal->log,
                                   .lock = &journal->index_lock,
                                   .unit = options->index_unit,
                                   .cache_size = options->index_memory_bytes,
                                   .merge_rate = options->index_merge_rate,
                                   .read_only = options->read_only,
                                   .on_notice = options->on_notice};
    struct index_figures figures;
    if (!options->index_folder)
        return index_new(journal->key, 0, 0, &journal->index_lock, &journal->index);
    int r = index_open(&wanted, &journal->index);
    if (r < 0)
        return r;
    index_figures(journal->index, &figures);
    journal->source.time_last_us = figures.time_last_us > 0 ? figures.time_last_us : 0; /* J6 */
    return index_start(journal->index);
}

/* The index is derived: that a part of it is damaged must not keep the journal from opening. It is waited for; when its files
 * cannot be mended, they are done without. */
static int catch_up_patiently(struct journal *journal, char *error)
{
    int r;
    do
        r = journal_catch_up(journal, error);
    while (r == -EAGAIN && index_await_repair(journal->index) == 0);
    if (r != -EAGAIN)
        return r;
    journal_notice(journal, "the index cannot be made again on the disk: it lies in memory until the next start");
    index_free(journal->index);
    journal->index = NULL;
    r = index_new(journal->key, 0, 0, &journal->index_lock, &journal->index);
    return r == 0 ? journal_catch_up(journal, error) : r;
}

static int start(struct journal *journal, char *error)
{
    struct log_status status;
    log_status(journal->log, &status);
    memcpy(journal->id.bytes, status.id, sizeof(journal->id.bytes));
    memcpy(journal->key, status.key, sizeof(journal->key));
    set_writable(journal, &status);
    log_on_synced(journal->log, on_synced, journal);
    source_init(&journal->source, journal->options.clock, journal->options.random);
    journal->source.step_max_us = journal->options.clock_step_max_us;
    int r = open_index(journal);
    if (r == 0)
        r = catch_up_patiently(journal, error);
    if (r == -EBADMSG) {
        /* Damage: what is before it can be read, and nothing may be written behind it (P6). */
        log_status(journal->log, &status);
        if (!status.damaged)
            journal_notice(journal, error);
        journal_stop_writing(journal, error);
        r = 0;
    }
    if (r == 0)
        r = past_init(&journal->past, journal->log, journal->key, journal->index);
    journal->past.fetch.vault = journal->options.vault;
    for (size_t i = 0; i < JOURNAL_BATCHES_IN_FLIGHT_MAX; i++) {
        batch_init(&journal->batches[i], &journal->past, &journal->source);
        journal->batches[i].vault = journal->options.vault;
    }
    if (r == 0)
        r = load_corrections(journal);
    if (r == 0)
        r = obey_fences(journal);
    if (r == 0 && journal->writable && !journal->options.follower)
        r = finish_scavenge(journal);
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
    journal->tasks_end = &journal->tasks;
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

void journal_notice(struct journal *journal, const char *sentence)
{
    if (journal->options.on_notice)
        journal->options.on_notice(sentence);
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
