/* One thread does one thing at a time, the most urgent first: write the oldest full table out, so that memory stays
 * bounded; make a damaged run again; merge. A merge takes long, so it stops in between to do the more urgent.
 *
 * Everything it does can be done again: when the disk fails it waits a moment and begins anew, and what is missing at the
 * next opening is read from the log. */

#include <assert.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "journal/codec.h"
#include "journal/index_internal.h"
#include "os/clock.h"

enum { MERGE_CACHE_SIZE = 512 * 1024 };

static bool is_stopping(struct index *index)
{
    _os_locked_(&index->mutex);
    return index->stopping;
}

void index_wake(struct index *index)
{
    if (!index->ops)
        return;
    os_mutex_lock(&index->mutex);
    index->dirty = true;
    os_cond_signal(&index->wanted);
    os_mutex_unlock(&index->mutex);
}

static struct run_target target_of(const struct index *index)
{
    return (struct run_target){.ops = index->ops, .folder = index->folder, .key = index->hash.key};
}

static int open_run(struct index *index, uint64_t first, uint64_t last, struct run **ret_run)
{
    int r = run_open(index->ops, index->folder, first, last, index->hash.key, index->cache, ret_run);
    return r > 0 ? -EBADMSG : r;
}

/* ---- replacing parts ---- */

/* Put a part (without table and run: a hole) in the place of those it covers, and what is left of the first of them behind it. */
static int replace(struct index *index, const struct part *with)
{
    struct parts *parts = NULL;
    uint64_t first = with->first, last = with->last;
    os_rwlock_write(index->lock);
    struct parts *before = index->parts;
    parts = parts_new(before->count + 1);
    if (parts) {
        bool put = false;
        for (size_t i = 0; i < before->count; i++) {
            struct part part = before->items[i];
            bool covered = part.first <= last && part.last >= first;
            if (covered && !put)
                parts_push(parts, with);
            put = put || covered;
            if (covered && part.last <= last)
                continue;
            if (covered)
                part.first = last + 1; /* of a hole, filled from its beginning on */
            parts_push(parts, &part);
        }
        index_replace_parts(index, parts);
    }
    os_rwlock_unlock(index->lock);
    return parts ? 0 : -ENOMEM;
}

static void remove_run(struct index *index, uint64_t first, uint64_t last)
{
    char name[RUN_FILE_NAME_SIZE], path[OS_PATH_SIZE_MAX];
    run_file_name(first, last, name);
    if (os_path(path, index->folder, name) == 0)
        (void)index->ops->remove(index->ops, path);
}

/* A table becomes a run, which takes the place of what the row has there. */
static int write_table(struct index *index, const struct table *table)
{
    struct run_target target = target_of(index);
    struct log_chain before, after;
    struct run *run;
    int r = log_chain_at(index->log, table->first - 1, &before);
    if (r == 0)
        r = log_chain_at(index->log, table->last, &after);
    if (r > 0)
        r = -EIO; /* beyond the head: cannot be, for it was published */
    if (r == 0)
        r = index->ops->make_folder(index->ops, index->folder);
    if (r == 0)
        r = run_flush_table(&target, table, &before, &after);
    if (r == 0)
        r = open_run(index, table->first, table->last, &run);
    if (r < 0)
        return r;
    r = replace(index, &(struct part){.first = table->first, .last = table->last, .run = run});
    run_unref(run);
    return r;
}

/* ---- writing out ---- */

/* The oldest full table, or NULL. */
static struct table *find_full(struct index *index)
{
    struct parts *parts = index_parts(index);
    struct table *table = NULL;
    for (size_t i = 0; i + 1 < parts->count && !table; i++)
        if (parts->items[i].table)
            table = table_ref(parts->items[i].table);
    parts_unref(parts);
    return table;
}

static int flush(struct index *index, bool *did)
{
    struct table *table = find_full(index);
    if (!table)
        return 0;
    *did = true;
    int r = write_table(index, table);
    table_unref(table);
    _os_locked_(&index->mutex);
    index->flushes += r == 0;
    os_cond_broadcast(&index->done);
    return r;
}

/* ---- making again ---- */

/* Read the events of a table's range from the log. */
static int fill_table(struct index *index, struct table *table)
{
    _cleanup_(log_reader_freep) struct log_reader *reader = NULL;
    int r = log_reader_new(index->log, table->first - 1, &reader);
    while (r == 0 && !table_is_full(table)) {
        struct log_record record;
        struct codec_tags tags;
        struct journal_event event;
        r = log_reader_next(reader, &record);
        if (r == 0)
            r = codec_read(&record, &tags, &event, NULL);
        if (r == 0)
            r = table_add(table, &index->hash, &event);
    }
    return r > 0 ? -EBADMSG : r;
}

/* The first unit of a hole. */
static int fill_hole(struct index *index, uint64_t first)
{
    struct table *table;
    int r = table_new(first, first + index->unit - 1, &table);
    if (r < 0)
        return r;
    r = fill_table(index, table);
    if (r == 0 && index->read_only) /* in memory, then */
        r = replace(index, &(struct part){.first = table->first, .last = table->last, .table = table});
    else if (r == 0)
        r = write_table(index, table);
    table_unref(table);
    return r;
}

static bool is_broken(const struct part *part)
{
    return !part->table && (!part->run || run_is_damaged(part->run));
}

static void say_damage(struct index *index, const struct part *part)
{
    unsigned block = atomic_load_explicit(&part->run->damaged_block, memory_order_relaxed);
    index_say_made_again(index, part->first, part->last, "is damaged at byte %llu", block * 1ull * RUN_BLOCK_SIZE);
}

static int repair(struct index *index, bool *did)
{
    struct parts *parts = index_parts(index);
    struct part part = {0};
    for (size_t i = 0; i + 1 < parts->count && part.first == 0; i++)
        if (is_broken(&parts->items[i]))
            part = parts->items[i];
    bool damaged = part.run != NULL;
    if (damaged)
        say_damage(index, &part);
    parts_unref(parts);
    if (part.first == 0)
        return 0;
    *did = true;
    if (!damaged)
        return fill_hole(index, part.first);
    int r = replace(index, &(struct part){.first = part.first, .last = part.last});
    if (!index->read_only)
        remove_run(index, part.first, part.last);
    _os_locked_(&index->mutex);
    index->rebuilds += r == 0;
    return r;
}

/* ---- merging ---- */

/* Runs that are to become one: INDEX_FANOUT of a level, side by side, that fill a range of the next. */
struct group {
    struct run *runs[INDEX_FANOUT];
    uint64_t first, last;
};

static bool is_group(const struct index *index, const struct parts *parts, size_t at, unsigned level)
{
    uint64_t span = index_level_span(index, level);
    if (at + INDEX_FANOUT >= parts->count || (parts->items[at].first - 1) % (span * INDEX_FANOUT) != 0)
        return false;
    for (size_t i = at; i < at + INDEX_FANOUT; i++) {
        const struct part *part = &parts->items[i];
        if (!part->run || part->last - part->first + 1 != span || run_is_damaged(part->run))
            return false;
    }
    return true;
}

/* The lowest level first. The group holds references. */
static bool find_group(struct index *index, struct group *ret_group, size_t *ret_runs)
{
    struct parts *parts = index_parts(index);
    bool found = false;
    *ret_runs = parts->count;
    for (unsigned level = 0; level < INDEX_LEVEL_MAX && !found; level++)
        for (size_t at = 0; at < parts->count && !found; at++) {
            found = is_group(index, parts, at, level);
            for (size_t i = 0; found && i < INDEX_FANOUT; i++)
                ret_group->runs[i] = run_ref(parts->items[at + i].run);
            if (found) {
                ret_group->first = parts->items[at].first;
                ret_group->last = parts->items[at + INDEX_FANOUT - 1].last;
            }
        }
    parts_unref(parts);
    return found;
}

struct pause {
    struct index *index;
    uint64_t began_ns, rate; /* 0: none */
    uint64_t held_ns;        /* spent on the more urgent */
};

/* Sleep until `written` bytes are due, or somebody wants something. */
static void keep_rate(struct pause *pause, uint64_t written)
{
    struct index *index = pause->index;
    if (pause->rate == 0)
        return;
    uint64_t due_ns = pause->began_ns + pause->held_ns + written * OS_NS_PER_SECOND / pause->rate;
    _os_locked_(&index->mutex);
    while (!index->stopping && !index->dirty && os_cond_wait_until(&index->wanted, &index->mutex, due_ns))
        ;
}

/* What is wanted is looked at now. Damage is looked at when the merge is done. */
static void settle_for_now(struct index *index)
{
    _os_locked_(&index->mutex);
    index->dirty = false;
}

/* While runs are merged: tables are written out all the same. */
static int on_pause(void *user, uint64_t written)
{
    struct pause *pause = user;
    bool did = true;
    uint64_t began_ns = os_monotonic_ns();
    int r = 0;
    while (r == 0 && did) {
        if (is_stopping(pause->index))
            return -ECANCELED;
        settle_for_now(pause->index);
        did = false;
        r = flush(pause->index, &did);
    }
    pause->held_ns += os_monotonic_ns() - began_ns;
    if (r == 0)
        keep_rate(pause, written);
    return r;
}

/* The group's files once more, with a cache of their own. */
static int open_again(struct index *index, const struct group *group, struct block_cache *cache, struct run **runs)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < INDEX_FANOUT; i++)
        r = run_open(index->ops, index->folder, group->runs[i]->header.first, group->runs[i]->header.last,
                     index->hash.key, cache, &runs[i]);
    return r > 0 ? -EBADMSG : r;
}

/* What was damaged in the files is damaged for everybody. */
static void pass_damage(struct run *const *runs, struct group *group)
{
    for (size_t i = 0; i < INDEX_FANOUT; i++)
        if (runs[i] && run_is_damaged(runs[i]))
            atomic_store(&group->runs[i]->damaged, true);
}

static int merge_group(struct index *index, struct group *group, uint64_t rate)
{
    struct run *runs[INDEX_FANOUT] = {0}, *merged;
    struct run_target target = target_of(index);
    struct pause pause = {.index = index, .began_ns = os_monotonic_ns(), .rate = rate};
    struct block_cache *cache;
    int r = block_cache_new(MERGE_CACHE_SIZE, &cache);
    if (r < 0)
        return r;
    r = open_again(index, group, cache, runs);
    if (r == 0)
        r = run_merge(&target, runs, INDEX_FANOUT, on_pause, &pause);
    pass_damage(runs, group);
    for (size_t i = 0; i < INDEX_FANOUT; i++)
        run_unref(runs[i]);
    block_cache_free(cache);
    if (r == 0)
        r = open_run(index, group->first, group->last, &merged);
    if (r < 0)
        return r;
    r = replace(index, &(struct part){.first = group->first, .last = group->last, .run = merged});
    run_unref(merged);
    for (size_t i = 0; r == 0 && i < INDEX_FANOUT; i++)
        remove_run(index, group->runs[i]->header.first, group->runs[i]->header.last);
    return r;
}

static int merge(struct index *index, bool *did)
{
    struct group group;
    size_t runs;
    if (!find_group(index, &group, &runs))
        return 0;
    *did = true;
    int r = merge_group(index, &group, runs > INDEX_RUNS_HURRY ? 0 : index->merge_rate);
    for (size_t i = 0; i < INDEX_FANOUT; i++)
        run_unref(group.runs[i]);
    _os_locked_(&index->mutex);
    index->merges += r == 0;
    return r;
}

/* ---- the thread ---- */

/* Do one thing, if there is one. */
static int work(struct index *index, bool *did)
{
    int r = index->read_only ? 0 : flush(index, did);
    if (r == 0 && !*did)
        r = repair(index, did);
    if (index->read_only)
        return r;
    if (r == 0 && !*did)
        r = merge(index, did);
    return r;
}

/* Wait until there may be something to do, or a failure is long enough ago. False: the end. */
static bool wait_for_work(struct index *index, bool failed)
{
    uint64_t due_ns = os_monotonic_ns() + INDEX_RETRY_MS * OS_NS_PER_MS;
    _os_locked_(&index->mutex);
    index->busy = false;
    os_cond_broadcast(&index->done);
    if (failed)
        while (!index->stopping && !index->retry && os_cond_wait_until(&index->wanted, &index->mutex, due_ns))
            ;
    else
        while (!index->stopping && !index->retry && !index->dirty)
            os_cond_wait(&index->wanted, &index->mutex);
    index->dirty = index->retry = false;
    index->busy = true;
    return !index->stopping;
}

static void begin_try(struct index *index)
{
    _os_locked_(&index->mutex);
    index->tries_begun++;
}

static void end_try(struct index *index, int r)
{
    _os_locked_(&index->mutex);
    index->tries_ended = index->tries_begun;
    if (!index->stopping)
        index->failure = r;
    os_cond_broadcast(&index->done);
}

static void worker_main(void *user)
{
    struct index *index = user;
    int r = 0;
    while (wait_for_work(index, r < 0)) {
        bool did;
        do {
            did = false;
            begin_try(index);
            r = work(index, &did);
            end_try(index, r);
        } while (r == 0 && did && !is_stopping(index));
    }
}

int index_start(struct index *index)
{
    if (!index->ops)
        return 0;
    os_mutex_lock(&index->mutex);
    index->dirty = true;
    index->busy = true;
    os_mutex_unlock(&index->mutex);
    return os_thread_start(&index->thread, "journal-index", worker_main, index);
}

int index_settle(struct index *index)
{
    if (!index->thread.started)
        return 0;
    _os_locked_(&index->mutex);
    while (!index->stopping && index->failure == 0 && (index->busy || index->dirty))
        os_cond_wait(&index->done, &index->mutex);
    return index->failure;
}

static bool is_whole(struct index *index)
{
    struct parts *parts = index_parts(index);
    bool whole = true;
    for (size_t i = 0; i + 1 < parts->count && whole; i++)
        whole = !is_broken(&parts->items[i]);
    parts_unref(parts);
    return whole;
}

int index_await_repair(struct index *index)
{
    if (!index->thread.started)
        return -EAGAIN;
    for (;;) {
        os_mutex_lock(&index->mutex);
        uint64_t ended = index->tries_ended;
        int failure = index->stopping ? -ECANCELED : index->failure;
        os_mutex_unlock(&index->mutex); /* no two locks are held together */
        if (failure == -ECANCELED || is_whole(index))
            return failure == -ECANCELED ? failure : 0;
        if (failure < 0)
            return failure;
        _os_locked_(&index->mutex);
        while (!index->stopping && index->tries_ended == ended)
            os_cond_wait(&index->done, &index->mutex);
    }
}

/* ---- room ---- */

static size_t count_full(struct index *index)
{
    size_t count = 0;
    index_lock_read(index);
    for (size_t i = index->parts->count - 1; i-- > 0 && index->parts->items[i].table;)
        count++;
    index_unlock(index);
    return count;
}

int index_refuses(struct index *index)
{
    if (!index->thread.started || index->read_only)
        return 0;
    os_mutex_lock(&index->mutex);
    int failure = index->failure;
    os_mutex_unlock(&index->mutex); /* no two locks are held together */
    return failure != 0 && count_full(index) >= INDEX_TABLES_KEPT_MAX ? failure : 0;
}

int index_try_again(struct index *index)
{
    if (index_refuses(index) == 0)
        return 0;
    os_mutex_lock(&index->mutex);
    uint64_t wanted = index->tries_begun + 1;
    while (!index->stopping && index->tries_ended < wanted) {
        index->retry = true; /* a try under way began before, and takes the wish along */
        os_cond_signal(&index->wanted);
        os_cond_wait(&index->done, &index->mutex);
    }
    os_mutex_unlock(&index->mutex);
    return index_refuses(index);
}

void index_make_room(struct index *index)
{
    if (!index->thread.started || index->read_only || count_full(index) < INDEX_TABLES_MAX)
        return;
    _os_locked_(&index->mutex);
    for (;;) {
        uint64_t flushes = index->flushes;
        os_mutex_unlock(&index->mutex); /* no two locks are held together */
        bool room = count_full(index) < INDEX_TABLES_MAX;
        os_mutex_lock(&index->mutex);
        while (!room && !index->stopping && index->failure == 0 && index->flushes == flushes)
            os_cond_wait(&index->done, &index->mutex);
        if (room || index->stopping || index->failure != 0)
            return;
    }
}
