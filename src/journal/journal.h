/* journal: events in streams, with tags, over a log.
 *
 * The journal is the truth; its index, every view and every decider's state are derived from it and can be thrown away.
 *
 * Life: journal_open() takes a log, reads what of it is not in the index on the disk yet, and starts the writer thread;
 * journal_close() lets what was submitted end, then closes the log.
 *
 * Threads: every function may be called from any thread unless it says otherwise. prepare() and done() of an append run on
 * the writer and must be quick; done() may submit further appends. The writer is a thread of the journal's, or a caller
 * inside journal_append_wait(); never two at once, and one sees what the other did. A reader belongs to one thread at a
 * time.
 *
 * How an append goes: journal_submit() checks what can be checked alone (names, sizes, counts) and queues it. The writer
 * takes everything queued as one batch. Each append in turn is compared with all that is durable, with the batches that
 * are on their way to the disk and with what stands before it in its own: event ids first, then expected versions and the
 * condition. Those that pass are written with one write and one sync, while the next batch is built; then the head moves,
 * done() is called for each, winners and losers, and listeners hear of it.
 *
 * Invariants:
 * J1 (P1) done() with `durable` follows the sync, by default; in a log of LOG_ASYNC it does so for daybook's own events.
 * J2 (P2) an append is one log entry: all of it or nothing.
 * J3 (P3) positions are 1, 2, 3… in commit order; no function shows an event above journal_head(), and in every mode what is
 *    up to there has been synced.
 * J4 (P4) a check sees every event before its own place, those not durable yet too, and a refusal is answered only when
 *    the batch it lost against is durable. When a batch fails, so do those built on top of it, and what was refused in any
 *    of them is not answered as refused: it gets another turn.
 * J5 (P5) an event id is unique in the journal.
 * J6 event times never go backwards: max(clock, time of the event before); but at a `$ClockCorrected`, which says that the clock
 *    was ahead before it. The last event up to a time is the last one that bears no later time.
 * J7 versions of a stream are 1, 2, 3… without gaps, and stored in the record.
 * J8 names that begin with `$` are daybook's own: hidden from readers unless asked for.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "log/log.h"

/* Limits. A breach is answered with the limit's value in `detail`. */
enum {
    JOURNAL_NAME_SIZE_MAX = 256,          /* bytes of a stream name, type or tag */
    JOURNAL_TAG_COUNT_MAX = 512,          /* tags of an event */
    JOURNAL_EVENT_COUNT_MAX = 1000,       /* events of an append */
    JOURNAL_EXPECTATION_COUNT_MAX = 1000, /* streams whose version an append expects */
    JOURNAL_ITEM_COUNT_MAX = 100,         /* items of a query */
    JOURNAL_QUERY_TERM_COUNT_MAX = 4096,  /* types and tags of a query, all items together */
    JOURNAL_CONTENT_TYPE_SIZE_MAX = 256,
    JOURNAL_KEY_SIZE_MAX = 512,      /* idempotency key with its scope */
    JOURNAL_QUEUE_COUNT_MAX = 65536, /* appends waiting for the writer */
    JOURNAL_CLOCK_STEP_MAX_S = 3600, /* a leap of the clock that servers believe at once */
    JOURNAL_CLOCK_DOUBT_S = 600,     /* for so long a larger one is not believed */
};

/* Answers. */
enum {
    JOURNAL_E_INVALID = 1, /* a name, size or count breaks a rule: `detail` says which, `index` which event */
    JOURNAL_E_CONFLICT = 2, /* expected versions or the condition: all violations are listed */
    JOURNAL_E_ID_REUSED =
        3,              /* an id is known with other content, or only some of the append's ids are known */
    JOURNAL_E_FULL = 4, /* no room on the disk, for the log or for so long for the index that memory would grow without
                         * bound; later appends may succeed */
    JOURNAL_E_READ_ONLY = 5, /* follower, damaged, or after a failed sync: journal_status() says why; or the index cannot be
                              * written: `detail` says why, and later appends may succeed */
    JOURNAL_E_TOO_LARGE = 6, /* above LOG_APPEND_SIZE_MAX when encoded */
    JOURNAL_E_BUSY = 7,      /* JOURNAL_QUEUE_COUNT_MAX reached */
    JOURNAL_E_UNKNOWN = 8,   /* may be there or not: send it again with the same ids after reopening */
    JOURNAL_E_FAILED = 9,    /* the write or sync failed; nothing of it will be read */
    JOURNAL_E_END = 10,      /* reader: nothing more up to the head, or the limit position is reached */
    JOURNAL_E_DIVERGED = 11, /* replicate: the records do not continue this journal's chain */
    JOURNAL_E_REFUSED = 64,  /* first answer free for prepare() */
};

struct journal_id {
    uint8_t bytes[16];
};

/* An event to append. All memory stays the caller's, until done(). */
struct journal_event_new {
    struct bytes stream; /* empty: the event is in no stream */
    struct bytes type;
    const struct bytes *tags; /* a set: order and repetition mean nothing; stored sorted, once each */
    size_t tag_count;
    struct bytes data;         /* JSON without insignificant white space, or any bytes with content_type */
    struct bytes content_type; /* empty: application/json */
    struct bytes meta;         /* a JSON object, or empty */
    bool has_id;
    uint8_t id[16]; /* else the journal makes a UUIDv7 */
    bool system;    /* daybook's own: names may begin with `$` */
    struct bytes subject; /* not empty: whom the data is about; data and meta are sealed with that subject's key */
};

/* An event as read. Points into the reader's memory, valid until its next call. */
struct journal_event {
    uint64_t position;
    uint64_t version;      /* in its stream; 0: in no stream */
    int64_t time_us;       /* microseconds since 1970, UTC */
    uint64_t append_first; /* position of the first event of its append */
    uint32_t append_count; /* events in its append */
    uint8_t id[16];
    struct bytes stream, type, content_type, data, meta;
    const struct bytes *tags;
    size_t tag_count;
    struct bytes key;      /* idempotency key with scope, or empty */
    struct bytes key_hash; /* hash of the request body it came with */
    bool stub;             /* scavenged: data and meta are gone */
    struct bytes subject;  /* whom the data is about, or empty */
    bool erased; /* the subject's key was destroyed: data, meta, content type and subject are empty, for ever */
    bool sealed; /* the subject's key is not here: likewise, until it comes */
};

/* A query: OR of items; an item matches when the type is one of its types (none: any) AND all its tags are on the event.
 * count 0 matches everything. An item with neither types nor tags is refused (JOURNAL_E_INVALID). */
struct journal_item {
    const struct bytes *types;
    size_t type_count;
    const struct bytes *tags;
    size_t tag_count;
};
struct journal_query {
    const struct journal_item *items;
    size_t count;
};

enum journal_expect {
    JOURNAL_EXPECT_ANY,
    JOURNAL_EXPECT_NONE,
    JOURNAL_EXPECT_EXISTS,
    JOURNAL_EXPECT_VERSION
};

struct journal_expectation {
    struct bytes stream;
    enum journal_expect expect;
    uint64_t version;
};

/* Fail if any event after position `after` matches, and if there is no such position yet. */
struct journal_condition {
    struct journal_query query;
    uint64_t after; /* exclusive; 0: all history counts */
};

/* A violated check. stream set: expected version; else the condition's item (index) first violated at `position`; or, with
 * `beyond`, the condition's `after` (expected) lies beyond the last position there is (actual), so that what it was built
 * on is not in this journal. */
struct journal_conflict {
    struct bytes stream;
    enum journal_expect expect;
    uint64_t expected, actual;
    size_t item;
    uint64_t position;
    bool beyond;
};

struct journal_stream_version {
    struct bytes stream;
    uint64_t version; /* after the append */
};

/* How an append ended. Memory is the journal's, valid during done() only. */
struct journal_result {
    int answer;           /* 0: appended or replayed; else JOURNAL_E_* or prepare()'s own answer */
    bool replayed;        /* every id was known with this content: the original positions stand here */
    uint64_t first, last; /* positions; with prepare()'s answer: both the tail it was decided at */
    const struct journal_stream_version *streams;
    size_t stream_count;
    const struct journal_conflict *conflicts;
    size_t conflict_count;
    size_t index;     /* JOURNAL_E_INVALID, JOURNAL_E_ID_REUSED: the event concerned */
    char detail[256]; /* a sentence for a human, for every answer but 0 */
};

struct journal;
struct journal_turn;
struct journal_ready;

/* One append. Owned by the caller, untouched by it from journal_submit() until done(). */
struct journal_append {
    const struct journal_event_new *events;
    size_t event_count;
    const struct journal_expectation *expectations;
    size_t expectation_count;
    const struct journal_condition *condition; /* NULL: none */
    struct bytes key;      /* idempotency key with scope: stands in every event's record; empty: none */
    struct bytes key_hash; /* 16 bytes */

    /* NULL, or called at the append's turn to look at all that stands before it (see journal_turn_*) and to set events,
     * expectations and condition. 0: go on with them (no events: nothing is written, answer 0, first and last = tail).
     * >= JOURNAL_E_REFUSED: the append ends with that answer, once what it was decided on is durable. < 0: failure.
     * May be called again for the same append if a batch could not be written in between; it must then decide anew (see
     * journal_turn_era()). Called on the writer. */
    int (*prepare)(struct journal_append *append, struct journal_turn *turn);
    void (*done)(struct journal_append *append, const struct journal_result *result);
    void *user;
    struct journal_append *next; /* the journal's, like the next one */
    struct journal_ready *ready;
};

struct vault;

struct journal_options {
    struct vault *vault; /* keys of subjects, the caller's, until the journal is closed; NULL: an event has none */
    const struct os_clock *clock;                                   /* NULL: the real one */
    const struct os_random *random;                                 /* NULL: the real one */
    bool follower;                                                  /* only journal_replicate() writes */
    bool read_only;                                                 /* no writer thread: for tools */
    void (*on_progress)(void *user, uint64_t done, uint64_t total); /* opening: records read; may be NULL */
    /* A sentence for the operator: damage that only the journal can see (the log tells its own), or a derived file that is thrown
     * away and made again. On any thread; be quick. May be NULL. */
    void (*on_notice)(const char *sentence);
    void *user; /* of on_progress */

    /* The index on the disk (docs/formats/index.md): a folder of files that can be thrown away. NULL: the index lies in
     * memory, and opening reads the whole log. */
    const char *index_folder;
    const struct os_file_ops *index_file; /* NULL: the real kernel */
    size_t index_memory_bytes;            /* blocks of it held in memory at most; 0: 16 MiB */
    uint64_t index_merge_rate;            /* bytes a second that merging writes at most; 0: as fast as it can */
    int64_t clock_step_max_us; /* a clock that leaps ahead by more is not believed at once (journal/source.h); 0: it is */
    uint32_t index_unit;                  /* positions of its smallest files; 0: 32,768; for tests */
};

/* Take `log` (also on failure) and open the journal. `ret_error`: 256 bytes or NULL, a sentence. */
int journal_open(struct log *log, const struct journal_options *options, struct journal **ret_journal,
                 char *ret_error);

/* Refuse new appends, let the queue end, stop the writer, close the log. NULL is fine. */
void journal_close(struct journal *journal);

/* Queue an append. 0: done() will be called exactly once. JOURNAL_E_INVALID / _BUSY / _READ_ONLY: it will not; ret_result
 * (may be NULL) says why. */
int journal_submit(struct journal *journal, struct journal_append *append, struct journal_result *ret_result);

/* The same and wait for the end; for tools, tests and embedding. When nobody else is writing it is written on the calling
 * thread. append->done may be NULL; else it is called, too, before this returns. `ret_result` outlives the call only in its plain fields
 * (streams and conflicts are NULL). Returns result.answer. */
int journal_append_wait(struct journal *journal, struct journal_append *append,
                        struct journal_result *ret_result);

/* --- at a turn: inside prepare() only ------------------------------------------------------------------------------- */

/* Position of the last event before this append, durable or not yet. */
uint64_t journal_turn_tail(const struct journal_turn *turn);

/* Rises whenever events that earlier turns saw were not written after all: what was folded from them must be forgotten. */
uint64_t journal_turn_era(const struct journal_turn *turn);

/* Each event after `after` that matches, in order, those not durable yet too. An event is valid during its call only. `each` returns 0 to go on, else it stops and
 * that is returned. */
int journal_turn_each(struct journal_turn *turn, const struct journal_query *query, uint64_t after,
                      int (*each)(void *user, const struct journal_event *event), void *user);

/* How many events match after `after`, counted no further than `limit`: to find out whether folding them here is cheap.
 * Asks the index alone and may count a few that do not match; `limit` also when there is no memory to count. */
uint64_t journal_turn_count(struct journal_turn *turn, const struct journal_query *query, uint64_t after,
                            uint64_t limit);

/* The append that came with this idempotency key: 0 and its positions and key hash (16 bytes); JOURNAL_E_END: none. */
int journal_turn_find_key(struct journal_turn *turn, struct bytes key, uint64_t *ret_first,
                          uint64_t *ret_last, uint8_t ret_key_hash[16]);

/* --- reading ---------------------------------------------------------------------------------------------------------- */

enum journal_direction { JOURNAL_FORWARD, JOURNAL_BACKWARD };

struct journal_read {
    struct bytes stream;               /* not empty: only this stream, and from/to are versions */
    struct bytes prefix;               /* not empty: only streams whose names begin so. Copied */
    const struct journal_query *query; /* NULL: everything. Copied */
    uint64_t after;                    /* forward: first position shown is after + 1. Streams: version */
    uint64_t before; /* backward: first shown is before - 1; forward: stop there. 0: the head */
    enum journal_direction direction;
    bool system;      /* show `$` events too */
    bool own_tags; /* show daybook's own tags on events, and match them: `$key:…` names what sealed an event */
    bool by_position; /* with a stream: after and before are positions all the same (subscriptions) */
};

struct journal_reader;
/* 0; JOURNAL_E_INVALID: the query breaks a rule; -errno. A stream that does not exist is empty, and may come to be. */
int journal_reader_new(struct journal *journal, const struct journal_read *read,
                       struct journal_reader **ret_reader);
/* The next event. JOURNAL_E_END: none now (forward readers may ask again when the head has moved). -EBADMSG: damaged, or
 * the journal is incomplete and what is asked for goes on behind its head; asking again answers the same. -EAGAIN: a damaged part of the index is being made again; a new reader
 * will do, in a moment. Other -errno: index or log cannot be read. */
int journal_reader_next(struct journal_reader *reader, struct journal_event *ret_event);
/* Every position up to and including this one has been shown or passed over. Forward readers only. */
uint64_t journal_reader_examined(const struct journal_reader *reader);
/* Give back the memory it has read ahead into: for who will not read on soon. What comes next is the same. */
void journal_reader_rest(struct journal_reader *reader);
void journal_reader_free(struct journal_reader *reader);
static inline void journal_reader_freep(struct journal_reader **reader)
{
    journal_reader_free(*reader);
}

uint64_t journal_head(const struct journal *journal);
/* The last position that was answered, shown yet or not: whoever names a higher one has seen what this journal has lost, or
 * what a follower has not got yet. */
uint64_t journal_tail(const struct journal *journal);
/* P6: whether events behind the head were acknowledged and cannot be read, because damage lies between. Then what has no end at or
 * below the head cannot be answered in full, and reading it ends in -EBADMSG instead of as if nothing had followed. */
bool journal_is_incomplete(const struct journal *journal);
/* Rises after bodies of events were taken away (scavenging): what was read before may be stale. Not for erasure. */
uint64_t journal_replaced_count(const struct journal *journal);
/* Whether an event after `after` may match the query, as far as the index can say without reading. 0 or -errno. */
int journal_may_match(struct journal *journal, const struct journal_query *query, uint64_t after, bool *ret_may);
/* Of a journal opened read_only: take in what another process has made durable since. 0, also for any other journal;
 * -EBADMSG, -errno: the head stays where reading ended. Any thread. */
int journal_refresh(struct journal *journal);
struct journal_id journal_id(const struct journal *journal);
/* After -EAGAIN, and not on the writer: wait until the damaged part of the index has been made again. 0: ask once more; -errno: it
 * cannot be now. */
_must_check_ int journal_await_index(struct journal *journal);
/* Version of a stream at the head; 0: no such stream. 0, or -errno: the index cannot be read, or (-EBADMSG) the journal is
 * incomplete. */
_must_check_ int journal_stream_version(struct journal *journal, struct bytes stream, uint64_t *ret_version);
/* The same at the tail. */
_must_check_ int journal_tail_version(struct journal *journal, struct bytes stream, uint64_t *ret_version);
/* The last position whose event is not later than `time_us`; 0: none. 0, or -errno: it cannot be read; -EBADMSG: it is, or may be,
 * where damage is. */
_must_check_ int journal_position_at(struct journal *journal, int64_t time_us, uint64_t *ret_position);
/* The time of an event, no later than those of corrections behind it: what its age is counted from. */
int64_t journal_true_time(struct journal *journal, uint64_t position, int64_t time_us);
/* When the last event bears a time that the clock has not come to yet, because it was ahead once: append a `$ClockCorrected`
 * with the clock's own time, from which times go on. The answers of an append; JOURNAL_E_RIGHT: they are in order. */
enum { JOURNAL_E_RIGHT = 13 };
/* How far the last event lay in the clock's future when the last one was stamped, and how far the clock has leapt without being
 * believed: microseconds. Costs nothing. */
void journal_clock(const struct journal *journal, int64_t *ret_ahead_us, int64_t *ret_leap_us);
int journal_correct_clock(struct journal *journal, struct journal_result *ret_result);
#define JOURNAL_CLOCK_STREAM BYTES_LITERAL("$clock")
#define JOURNAL_CLOCK_TYPE   BYTES_LITERAL("$ClockCorrected")
/* Whether it is such an event: times may go back there. */
bool journal_is_correction(const struct journal_event *event);
/* The append that carries an idempotency key: as journal_turn_find_key(), durable ones only. */
int journal_find_key(struct journal *journal, struct bytes key, uint64_t *ret_first, uint64_t *ret_last,
                     uint8_t ret_key_hash[16]);
/* Chain after `position`: what a view stores beside its rows (P8). JOURNAL_E_END beyond the tail. */
int journal_chain_at(struct journal *journal, uint64_t position, struct log_chain *ret_chain);

/* --- following the head ----------------------------------------------------------------------------------------------- */

/* Heard on the writer after the head moved (or the journal stopped being writable): be quick, wake somebody, and
 * do not call journal_listen() or journal_unlisten() from there. The struct is the caller's and linked in until
 * journal_unlisten(), after which `moved` does not run any more. */
struct journal_listener {
    void (*moved)(struct journal_listener *listener, uint64_t head);
    struct journal_listener *next, *previous;
};
void journal_listen(struct journal *journal, struct journal_listener *listener);
void journal_unlisten(struct journal *journal, struct journal_listener *listener);
/* Wait until the head is beyond `after`: 0; -ETIMEDOUT after `timeout_ms`; -ECANCELED when the journal is closing. */
int journal_wait(struct journal *journal, uint64_t after, uint32_t timeout_ms);

/* --- erasing ---------------------------------------------------------------------------------------------------------- */

/* What journal_erase() did. */
struct journal_erasure {
    uint64_t position; /* of the `$SubjectErased` event: the fence */
    int64_t time_us;
    bool again;       /* it stood there already, and nothing of the subject was appended since */
    size_t key_count; /* keys that were destroyed there */
};

#define JOURNAL_FENCE_STREAM BYTES_LITERAL("$erasures") /* where fences stand, and nothing else */

enum { JOURNAL_E_NO_SUBJECT = 12 }; /* nothing was ever sealed for this subject */

/* Erase a subject's data: fence its keys in the journal, durably, then destroy them. When it returns 0 nobody can read that
 * data from this journal and vault; what was derived from it is the caller's to clear. What is appended about the subject
 * afterwards is sealed with a new key. JOURNAL_E_NO_SUBJECT; the answers of an append, JOURNAL_E_FULL also when there is no room
 * for the vault's fence: nobody reads the data any more, but the key is not destroyed yet; -errno: the fence may stand. Asking
 * again finishes it. A crash in between is finished by journal_open(). */
int journal_erase(struct journal *journal, struct bytes subject, struct journal_erasure *ret_erasure);

/* Obey the fences that stand in the journal after `*after`, which is moved on: destroy their keys. For followers, whose
 * fences come with the log; journal_open() has done it for those it found. 0; -ENOSPC: in memory, but not for good, and
 * `*after` stands before the first of them; -errno. */
int journal_obey_fences(struct journal *journal, uint64_t *after);

/* --- a follower's ------------------------------------------------------------------------------------------------------ */

/* Store another journal's records unchanged: whole appends, at most LOG_APPEND_SIZE_MAX each. They must continue this
 * journal: first position = head + 1 and `chain` the chain after the last (else JOURNAL_E_DIVERGED, nothing stored).
 * Returns when they are durable: 0; JOURNAL_E_DIVERGED, _FULL, _FAILED, _UNKNOWN, _READ_ONLY, _TOO_LARGE; -EINVAL: an
 * append is cut in two; -EBADMSG: a record is no event's, or its version does not continue its stream. One thread. */
int journal_replicate(struct journal *journal, struct log_record *records, size_t count,
                      const struct log_chain *chain);
/* Whether a record is the last one of its append: where what is handed to journal_replicate() may end. */
bool journal_record_ends_append(const struct log_record *record);
/* Records verbatim, for GET /v1/log: a log reader after a position. */
int journal_log_reader(struct journal *journal, uint64_t after, struct log_reader **ret_reader);

/* --- state and figures -------------------------------------------------------------------------------------------------- */

struct journal_status {
    struct log_status log;
    bool writable;
    bool full;        /* the last batch found no room */
    bool incomplete;  /* journal_is_incomplete() */
    char reason[256]; /* when not writable */
    uint64_t streams, events, appends, conflicts, replays;
    uint64_t queue_count;
    int64_t clock_ahead_us; /* how far the last event lies in the clock's future: until then all bear its time */
    int64_t clock_leap_us;  /* how far the clock has leapt ahead without being believed */
    uint64_t clock_corrections;
    uint64_t index_bytes;      /* of memory */
    uint64_t index_runs, index_disk_bytes;
    uint64_t index_checkpoint; /* the last position that is in the index on the disk */
    uint64_t index_rebuilds;   /* parts of it that were damaged and made again from the log */
    int index_failure;         /* -errno: the last try to write to it failed */
    struct log_counters counters;
};
void journal_status(struct journal *journal, struct journal_status *ret_status);
