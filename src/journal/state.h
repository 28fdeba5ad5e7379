/* state: what a journal consists of. For the files of this folder that make up the journal; nobody else includes it.
 *
 * No two of the locks are ever held together, except that a listener, called under listen_lock, may look at the head. The
 * writer alone changes the index and the head, under index_lock held for writing; it reads the index without a lock.
 */
#pragma once

#include <stdatomic.h>

#include "journal/batch.h"
#include "journal/times.h"
#include "os/thread.h"

struct append_list {
    struct journal_append *first, **end;
};

/* Something the writer does between two batches, when nothing of the log is under way. The caller's until it has run. */
struct journal_task {
    void (*run)(struct journal_task *task);
    struct journal_task *next;
    bool done;
};

struct journal {
    struct log *log;
    struct journal_options options;
    struct journal_id id;
    uint8_t key[16];

    struct os_rwlock index_lock; /* index, times, and the head's moves */
    struct index *index;
    struct times times;
    _Atomic uint64_t head;

    struct os_mutex queue_lock; /* queue, closing */
    struct os_cond queue_filled;
    struct append_list queue;
    struct journal_task *tasks, **tasks_end;
    struct os_cond task_done;
    uint64_t queue_count; /* submitted and not yet answered */
    bool closing;

    struct os_thread writer;
    struct source source; /* the writer's, like the following two */
    struct past past;
    struct batch batch;

    struct os_mutex listen_lock;
    struct journal_listener *listeners;

    struct os_mutex state_lock; /* the rest */
    struct os_cond moved, waiter_gone;
    unsigned waiter_count;
    bool ending; /* waiters are to go */
    bool writable, full;
    char reason[256];
    uint64_t appends, conflicts, replays;
};

/* --- journal.c --- */

/* The events are durable: put them into the index and move the head. 0, or -ENOMEM: the head has not moved. */
_must_check_ int journal_publish(struct journal *journal, const struct journal_event *events, size_t count);
/* Read what the log has beyond the index. -EBADMSG: damage; -EPROTO: a newer format; `ret_error`: 256 bytes, a sentence. */
_must_check_ int journal_catch_up(struct journal *journal, char *ret_error);
/* No writing from now on; the first reason stays. */
void journal_stop_writing(struct journal *journal, const char *reason);
bool journal_is_writable(struct journal *journal, char ret_reason[256]);

/* --- watch.c --- */

/* Tell waiters and listeners that the head moved, or that writing ended. */
void journal_notify(struct journal *journal);

/* --- writer.c --- */

void append_list_init(struct append_list *list);
void append_list_push(struct append_list *list, struct journal_append *append);

/* Start and end the writer thread; ending lets everything queued have its answer. */
_must_check_ int journal_writer_start(struct journal *journal);
void journal_writer_stop(struct journal *journal);
/* Have the writer run a task and wait for its end. 0; -ECANCELED: the journal is closing and it was not run. */
_must_check_ int journal_run_task(struct journal *journal, struct journal_task *task);
/* Hand a batch to the log and wait. 0: *ret_outcome; LOG_E_* or -errno: not taken. */
_must_check_ int journal_log_write(struct journal *journal, struct log_batch *batch,
                                   enum log_outcome *ret_outcome);
