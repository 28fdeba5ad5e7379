/* index: where in the journal a stream, type, tag, id or idempotency key stands.
 *
 * Derived from the log: all of it can be thrown away and made again. What is asked of an index is "which positions may
 * match", lowest or highest first, and the last word is the record's.
 *
 * A term is the SipHash, keyed with the log's secret, of a letter, a colon and the name: "t:" type, "g:" tag. Each leads to
 * the ascending positions of its events. Streams ("s:") keep their name, so that versions are exact without reading a
 * record. Ids ("i:") and keys ("k:") lead to candidates that the caller settles on the record.
 *
 * An index is a row of parts, each for the range of positions behind the one before: the newest in memory (journal/table.h),
 * the older ones, if it has a folder, in files (journal/run.h, docs/formats/index.md). A thread of its own writes full
 * tables out and merges small runs into larger ones, by rules that depend on positions alone; it makes a run that shows
 * damage again from the log (of an index that is read only: in memory). Until it has, what needs that run fails with -EAGAIN:
 * never a wrong answer.
 *
 * An index without a folder lies in memory; it may begin above position 0: the writer keeps the events of the batch it is
 * building in an index of their own on top of the durable one, and drops it when the batch fails.
 *
 * Invariants:
 * I1 every event from base + 1 to index_last() is in it, once, in order.
 * I2 candidates are complete: an event that matches is proposed. They need not be right: hashes may collide.
 * I3 position number v of a stream (from 1) is that of its version v, less the versions below this index's base.
 * I4 runs cover the positions from 1 to index_figures().checkpoint without a gap, and nothing above the log's head; files
 *    in the folder that are not among them say nothing.
 *
 * What is asked of an index may have to be read from a disk: every question can fail with -errno, and then nothing is
 * known.
 *
 * Threads: one adds, under the lock it was given for writing if it has a folder. Any may ask, without that lock: what needs
 * it takes it. An index without a lock belongs to one thread.
 */
#pragma once

#include "journal/arena.h"
#include "journal/journal.h"
#include "os/file.h"
#include "os/thread.h"

enum {
    INDEX_UNIT_DEFAULT = 32768,  /* positions of a table and of the smallest runs; a power of two */
    INDEX_FANOUT = 8,            /* so many runs side by side are merged into one */
    INDEX_LEVEL_MAX = 5,         /* merged so many times at most: a run's offsets fit 32 bits */
    INDEX_TABLES_MAX = 4,        /* full tables that wait to be written before who adds waits for them */
    INDEX_TABLES_KEPT_MAX = 8,   /* of those, while the disk fails: then nothing more is taken (index_refuses()) */
    INDEX_CACHE_SIZE_DEFAULT = 16 << 20,
    INDEX_RETRY_MS = 1000,       /* after the disk failed */
    INDEX_RUNS_HURRY = 64,       /* with so many runs merges keep to no rate */
};

struct index;

/* In memory. `key`: the log's, 16 bytes, copied. `base`: the position below its first. `term_bits`: 0 for all 64; tests
 * take few, so that hashes collide. `lock`: as above, or NULL. 0 or -ENOMEM. */
_must_check_ int index_new(const uint8_t *key, uint64_t base, unsigned term_bits, struct os_rwlock *lock,
                           struct index **ret_index);

struct index_options {
    const struct os_file_ops *file; /* NULL: the real kernel */
    const char *folder;             /* made if missing; copied */
    struct log *log;                /* whose index it is; outlives it */
    struct os_rwlock *lock;
    uint32_t unit;                 /* positions; 0: INDEX_UNIT_DEFAULT */
    size_t cache_size;             /* bytes of blocks held in memory; 0: INDEX_CACHE_SIZE_DEFAULT */
    uint64_t merge_rate;           /* bytes a second that merges write at most; 0: as fast as they can */
    bool read_only;                /* takes the runs that are there and changes nothing on the disk */
    void (*on_notice)(const char *sentence); /* a file that is thrown away and made again, by name; on any thread; may be NULL */
    unsigned term_bits;
};

/* With a folder. It begins with what the folder's runs say, as far as they are of this log; events from index_last() + 1 on
 * are to be added. A folder that cannot be used is no failure: the index then begins empty. 0 or -ENOMEM. */
_must_check_ int index_open(const struct index_options *options, struct index **ret_index);
/* Start the thread. 0 or -errno. */
_must_check_ int index_start(struct index *index);
/* Ends the thread; NULL is fine. */
void index_free(struct index *index);
static inline void index_freep(struct index **index)
{
    index_free(*index);
}

/* Before adding, without the lock: wait while too many full tables are not written yet, unless the disk fails. */
void index_make_room(struct index *index);
/* Whether memory would grow without bound: INDEX_TABLES_KEPT_MAX full tables wait and cannot be written. 0: it takes more;
 * else the -errno of the last try. The thread goes on trying, and what is asked is answered all the same. */
int index_refuses(struct index *index);
/* The same, after one more try if it does: what is true now and not when the thread last tried. */
int index_try_again(struct index *index);
/* Add the event at index_last() + 1 (asserted). 0; or -ENOMEM, and the index can only be freed. */
_must_check_ int index_add(struct index *index, const struct journal_event *event);

uint64_t index_base(const struct index *index);
uint64_t index_last(const struct index *index);

struct index_figures {
    uint64_t streams;
    size_t memory;       /* bytes, about */
    uint64_t runs, runs_bytes;
    uint64_t checkpoint; /* the last position that runs cover */
    uint64_t rebuilds;   /* runs that were made again from the log because they were damaged */
    uint64_t flushes, merges;
    uint64_t cache_hits, cache_misses;
    int64_t time_last_us; /* of the event at index_last(); INT64_MIN: there is none */
    int failure;          /* -errno of the last try to write; 0: it went well */
};
void index_figures(struct index *index, struct index_figures *ret_figures);

/* After -EAGAIN: wait until the thread has made again what was damaged. 0: ask once more; -EAGAIN: there is no thread; -errno:
 * the log cannot be read there or the disk fails, and it goes on trying; -ECANCELED. */
_must_check_ int index_await_repair(struct index *index);

/* Wait until the thread has nothing to do: all full tables written, all merges done. 0; -errno: the disk fails. */
_must_check_ int index_settle(struct index *index);

/* The stream's last version as far as this index knows; 0: it knows no event of it. */
_must_check_ int index_stream_version(const struct index *index, struct bytes stream, uint64_t *ret_version);

/* Where an id may stand; where an append with this key may begin. Each call gives the next candidate, 0: no more.
 * *probe begins as {0}. */
struct index_probe {
    uint64_t below; /* the last candidate; 0: none yet */
};
_must_check_ int index_find_id(const struct index *index, const uint8_t id[16], struct index_probe *probe,
                               uint64_t *ret_position);
_must_check_ int index_find_key(const struct index *index, struct bytes key, struct index_probe *probe,
                                uint64_t *ret_position);

/* A position whose event is not later than `time_us` and less than TIMES_STEP before the last such; 0: none is. */
_must_check_ int index_find_time(const struct index *index, int64_t time_us, uint64_t *ret_position);

/* Whether an event above `after` may match the item: a look at the last positions of its terms and no more. */
_must_check_ int index_may_match(const struct index *index, const struct journal_item *item, uint64_t after,
                                 bool *ret_may);

/* The candidates of a query, or the positions of a stream. Made in `arena`, valid as long as it and the index; query and
 * names are not needed later. The scan sees what is added to the index after it was made. 0 or -ENOMEM. */
struct index_scan;
_must_check_ int index_scan_new(const struct index *index, const struct journal_query *query,
                                struct arena *arena, struct index_scan **ret_scan);
_must_check_ int index_scan_new_stream(const struct index *index, struct bytes stream, struct arena *arena,
                                       struct index_scan **ret_scan);
/* Lets go of what the scan holds beside its memory; NULL is fine. */
void index_scan_end(struct index_scan *scan);
/* The lowest candidate in `from`…`limit`, or 0; the highest in `limit`…`from`, or 0. The limit bounds the work: long lists
 * that never agree are walked no further than to it. */
_must_check_ int index_scan_next(struct index_scan *scan, uint64_t from, uint64_t limit, uint64_t *ret_position);
_must_check_ int index_scan_previous(struct index_scan *scan, uint64_t from, uint64_t limit,
                                     uint64_t *ret_position);
/* Of a stream's scan: the position of a version, 0: this index does not have it. Only for an index that begins at 0. */
_must_check_ int index_scan_version(struct index_scan *scan, uint64_t version, uint64_t *ret_position);
