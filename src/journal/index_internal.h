/* What the parts of the index share.
 *
 *     index.c         the row of parts, adding, questions
 *     index_scan.c    scans over the row
 *     index_folder.c  which files of the folder are the runs
 *     index_worker.c  the thread: writing out, merging, making again
 *
 * The row is replaced, never changed: who holds a reference sees the parts as they were, and what they say stays true. It
 * is replaced under the index's lock for writing, by whoever adds (a new table behind the full one) or by the thread.
 */
#pragma once

#include "journal/index.h"
#include "journal/run_flush.h"

struct part {
    uint64_t first, last; /* last of the table that grows: its end */
    struct table *table;  /* one of the two, or neither: a hole, whose run is being made again */
    struct run *run;
};

struct parts {
    atomic_uint refs;
    size_t count; /* at least one; the last is the table that grows */
    struct part items[];
};

struct index {
    struct table_hash hash;
    uint64_t base;
    struct os_rwlock *lock;
    struct parts *parts;     /* guarded by the lock */
    _Atomic uint64_t turn;   /* how often the row was replaced */
    _Atomic uint64_t last;
    struct table *growing;   /* the last part's: of whoever adds */

    /* With a folder only. */
    const struct os_file_ops *ops;
    char *folder;
    struct log *log;
    struct block_cache *cache;
    uint32_t unit;
    uint64_t merge_rate;
    bool read_only;
    void (*on_notice)(const char *sentence);

    struct os_mutex mutex; /* guards what follows */
    struct os_cond wanted, done;
    struct os_thread thread;
    bool stopping, busy, dirty; /* dirty: there may be something to do */
    bool retry;                  /* somebody waits for a try that begins now, however lately one failed */
    uint64_t tries_begun, tries_ended;
    int failure;
    uint64_t rebuilds, flushes, merges;
};

/* --- index.c --- */

static inline void index_lock_read(const struct index *index)
{
    if (index->lock)
        os_rwlock_read(index->lock);
}
static inline void index_unlock(const struct index *index)
{
    if (index->lock)
        os_rwlock_unlock(index->lock);
}
struct parts *parts_ref(struct parts *parts);
void parts_unref(struct parts *parts); /* NULL is fine */
/* A row without items yet, with room for `count`; NULL: no memory. */
struct parts *parts_new(size_t count);
/* Take references to an item's table or run and put it at the end. */
void parts_push(struct parts *parts, const struct part *part);
/* The row as it is now. */
struct parts *index_parts(const struct index *index);
/* Put a row in the place of the present one; takes it over. */
void index_replace_parts(struct index *index, struct parts *parts);
/* The part that holds a position; it is one of the index's. */
size_t parts_find(const struct parts *parts, uint64_t position);
/* Say that a run's file is made again from the log, because `why`. */
_printf_(4, 5) void index_say_made_again(const struct index *index, uint64_t first, uint64_t last, const char *why, ...);
/* Answer for a run that failed: the thread is told of damage. */
int index_run_failed(const struct index *index, int r);

/* --- index_folder.c --- */

/* Which runs make up the beginning of the journal: *ret_parts gets them, without the table that grows. 0 or -ENOMEM. */
_must_check_ int index_folder_open(struct index *index, struct parts **ret_parts);

/* Positions of a run at a level. */
static inline uint64_t index_level_span(const struct index *index, unsigned level)
{
    uint64_t span = index->unit;
    while (level-- > 0)
        span *= INDEX_FANOUT;
    return span;
}

/* --- index_worker.c --- */

void index_wake(struct index *index);
