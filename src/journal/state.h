/* state: what a journal consists of. For the files of this folder that make up the journal; nobody else includes it.
 *
 * No two of the locks are ever held together, except that a listener, called under listen_lock, may look at the head. The
 * writer alone adds to the index and moves the head, under index_lock held for writing; what is asked of the index takes
 * that lock by itself, where it must.
 */
#pragma once

#include <stdatomic.h>

#include "journal/batch.h"
#include "os/thread.h"

/* So many events queued are worth a batch that is built ahead, while another is on its way. */
enum { JOURNAL_AHEAD_WEIGHT_MIN = 16 };

struct append_list {
    struct journal_append *first, **end;
};

/* Something the writer does between two batches, when nothing of the log is under way. The caller's until it has run. */
struct journal_task {
    void (*run)(struct journal_task *task);
    struct journal_task *next;
    bool done;
};

/* From `position` on times go on from `time_us`. */
struct correction {
    uint64_t position;
    int64_t time_us;
};

struct journal {
    struct log *log;
    struct journal_options options;
    struct journal_id id;
    uint8_t key[16];

    struct os_rwlock index_lock; /* the index's newest part, and the head's moves */
    struct index *index;
    _Atomic uint64_t head;
    atomic_bool incomplete; /* behind the head there was more, and damage lies before it */

    struct os_mutex queue_lock;  /* up to the thread, and which batches have landed */
    struct os_cond queue_filled; /* the writer's thread waits: for the queue, while nobody writes */
    struct append_list queue;
    struct journal_task *tasks, **tasks_end;
    struct os_cond task_done;
    uint64_t queue_count;  /* submitted and not yet answered */
    uint64_t queue_weight; /* of what stands in the queue: journal_append_weight() */
    bool closing;
    bool writing;         /* somebody is the writer: its thread, or a caller that waits for its own append */
    bool wants_queue;     /* the writer sleeps and will wake for a queue worth a batch */
    struct os_cond landed; /* the writer waits: for batches, and for that */

    struct os_thread thread;
    struct source source; /* the writer's, like the rest up to the next lock */
    struct past past;
    struct batch batches[JOURNAL_BATCHES_IN_FLIGHT_MAX]; /* a ring: */
    size_t batch_first, batch_count;                     /* the oldest of those on their way, and how many */
    unsigned fenced_count;                               /* times in a row that another writer was there first */
    bool busy; /* during a sync more comes in than is worth waiting with: build ahead */

    struct os_mutex corrections_lock; /* up to the count */
    struct correction *corrections;   /* ascending */
    size_t correction_capacity, correction_count;

    struct os_mutex listen_lock;
    struct journal_listener *listeners;

    struct os_mutex refresh_lock; /* read_only: who takes in what another process wrote */
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
/* Tell the operator. */
void journal_notice(struct journal *journal, const char *sentence);
/* No writing from now on; the first reason stays. */
void journal_stop_writing(struct journal *journal, const char *reason);
bool journal_is_writable(struct journal *journal, char ret_reason[256]);

/* --- corrections.c --- */

/* A stored event, in order: kept if it is a correction. 0 or -ENOMEM. */
_must_check_ int corrections_note(struct journal *journal, const struct journal_event *event);
/* All there are, from the journal. 0 or -errno. */
_must_check_ int corrections_load(struct journal *journal);
/* The last position that bears no later time. False: there is no correction, and the index knows. */
bool corrections_find(struct journal *journal, int64_t time_us, uint64_t *ret_position);
/* How far the last event lies in the future. */
int64_t corrections_ahead_us(struct journal *journal);

/* --- watch.c --- */

/* Tell waiters and listeners that the head moved, or that writing ended. */
void journal_notify(struct journal *journal);

/* --- writer.c --- */

void append_list_init(struct append_list *list);
void append_list_push(struct append_list *list, struct journal_append *append);
struct journal_append *append_list_pop(struct append_list *list);
/* Move everything of `from` behind `to`. */
void append_list_move(struct append_list *to, struct append_list *from);
/* How much work an append is, in events. */
uint64_t journal_append_weight(const struct journal_append *append);

/* Start and end the writer's thread; ending lets everything queued have its answer. */
_must_check_ int journal_writer_start(struct journal *journal);
void journal_writer_stop(struct journal *journal);
/* Have the writer run a task and wait for its end. 0; -ECANCELED: the journal is closing and it was not run. */
_must_check_ int journal_run_task(struct journal *journal, struct journal_task *task);
/* When nobody writes and nothing is queued, write this append on the calling thread: it has ended when this returns. False:
 * somebody does. */
bool journal_write_here(struct journal *journal, struct journal_append *append);

/* --- flight.c: batches on their way --- */

/* Hand a built batch to the log; journal_flight_landed() will tell its end. `wait`: the caller has nothing else to do. */
void journal_flight_send(struct journal *journal, struct batch *batch, bool wait);
bool journal_flight_landed(struct journal *journal, struct batch *batch);
/* Whether nothing has gone wrong with it so far. */
bool journal_flight_holds(struct journal *journal, const struct batch *batch);
void journal_flight_wait(struct journal *journal, struct batch *batch);
/* Settle the oldest batch, which has landed: publish and answer it; or, when it was not written, end all of them. Appends
 * that get another turn stand in front of `pending` afterwards. */
void journal_flight_settle(struct journal *journal, struct append_list *pending);
/* The number-th batch on its way, 0 being the oldest; with the count: the next one to build. */
struct batch *journal_flight(struct journal *journal, size_t number);
/* Tell an append its end. */
void journal_answer(struct journal *journal, struct journal_append *append,
                    const struct journal_result *result);
void journal_answer_plain(struct journal *journal, struct journal_append *append, int code,
                          const char *detail);
