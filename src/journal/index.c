#include "journal/index_internal.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- the row of parts ---- */

struct parts *parts_new(size_t count)
{
    struct parts *parts = calloc(1, sizeof(*parts) + count * sizeof(parts->items[0]));
    if (parts)
        atomic_init(&parts->refs, 1);
    return parts;
}

void parts_push(struct parts *parts, const struct part *part)
{
    struct part *mine = &parts->items[parts->count++];
    *mine = *part;
    if (mine->table)
        table_ref(mine->table);
    if (mine->run)
        run_ref(mine->run);
}

struct parts *parts_ref(struct parts *parts)
{
    atomic_fetch_add(&parts->refs, 1);
    return parts;
}

void parts_unref(struct parts *parts)
{
    if (!parts || atomic_fetch_sub(&parts->refs, 1) != 1)
        return;
    for (size_t i = 0; i < parts->count; i++) {
        table_unref(parts->items[i].table);
        run_unref(parts->items[i].run);
    }
    free(parts);
}

struct parts *index_parts(const struct index *index)
{
    index_lock_read(index);
    struct parts *parts = parts_ref(index->parts);
    index_unlock(index);
    return parts;
}

void index_replace_parts(struct index *index, struct parts *parts)
{
    struct parts *before = index->parts;
    index->parts = parts;
    atomic_fetch_add_explicit(&index->turn, 1, memory_order_release);
    parts_unref(before);
}

size_t parts_find(const struct parts *parts, uint64_t position)
{
    size_t low = 0, high = parts->count - 1;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (parts->items[middle].last < position)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void index_say_made_again(const struct index *index, uint64_t first, uint64_t last, const char *why, ...)
{
    char name[RUN_FILE_NAME_SIZE], reason[128], sentence[256];
    va_list arguments;
    if (!index->on_notice)
        return;
    va_start(arguments, why);
    vsnprintf(reason, sizeof(reason), why, arguments);
    va_end(arguments);
    run_file_name(first, last, name);
    snprintf(sentence, sizeof(sentence), "index/%s %s: it is thrown away and made again from the log", name, reason);
    index->on_notice(sentence);
}

int index_run_failed(const struct index *index, int r)
{
    if (r != -EBADMSG)
        return r;
    index_wake((struct index *)(uintptr_t)index);
    return -EAGAIN;
}

/* ---- life ---- */

static void set_hash(struct index *index, const uint8_t *key, unsigned term_bits)
{
    memcpy(index->hash.key, key, sizeof(index->hash.key));
    index->hash.mask = term_bits == 0 || term_bits >= 64 ? UINT64_MAX : (UINT64_C(1) << term_bits) - 1;
}

/* The row begins with `before` (NULL: nothing), and behind it a table. */
static int begin(struct index *index, const struct parts *before, uint64_t base, uint64_t end)
{
    size_t count = before ? before->count : 0;
    struct parts *parts = parts_new(count + 1);
    int r = parts ? table_new(base + 1, end, &index->growing) : -ENOMEM;
    if (r < 0) {
        parts_unref(parts);
        return r;
    }
    for (size_t i = 0; i < count; i++)
        parts_push(parts, &before->items[i]);
    parts_push(parts, &(struct part){.first = base + 1, .last = end, .table = index->growing});
    table_unref(index->growing); /* the row has it */
    index->parts = parts;
    atomic_init(&index->last, base);
    return 0;
}

int index_new(const uint8_t *key, uint64_t base, unsigned term_bits, struct os_rwlock *lock,
              struct index **ret_index)
{
    struct index *index = calloc(1, sizeof(*index));
    if (!index)
        return -ENOMEM;
    set_hash(index, key, term_bits);
    index->base = base;
    index->lock = lock;
    int r = begin(index, NULL, base, UINT64_MAX);
    if (r < 0) {
        free(index);
        return r;
    }
    *ret_index = index;
    return 0;
}

static void init_folder(struct index *index, const struct index_options *options)
{
    struct log_status status;
    log_status(options->log, &status);
    set_hash(index, status.key, options->term_bits);
    index->ops = options->file ? options->file : os_file_real();
    index->log = options->log;
    index->lock = options->lock;
    index->unit = options->unit ? options->unit : INDEX_UNIT_DEFAULT;
    index->merge_rate = options->merge_rate;
    index->read_only = options->read_only;
    index->on_notice = options->on_notice;
    os_mutex_init(&index->mutex);
    os_cond_init(&index->wanted);
    os_cond_init(&index->done);
}

int index_open(const struct index_options *options, struct index **ret_index)
{
    struct index *index = calloc(1, sizeof(*index));
    struct parts *runs = NULL;
    if (!index)
        return -ENOMEM;
    init_folder(index, options);
    index->folder = strdup(options->folder);
    int r = index->folder ? 0 : -ENOMEM;
    if (r == 0)
        r = block_cache_new(options->cache_size ? options->cache_size : INDEX_CACHE_SIZE_DEFAULT, &index->cache);
    if (r == 0)
        r = index_folder_open(index, &runs);
    if (r == 0) {
        uint64_t covered = runs->count > 0 ? runs->items[runs->count - 1].last : 0;
        r = begin(index, runs, covered, index->read_only ? UINT64_MAX : covered + index->unit);
    }
    parts_unref(runs);
    if (r < 0) {
        index_free(index);
        return r;
    }
    *ret_index = index;
    return 0;
}

static void stop_thread(struct index *index)
{
    os_mutex_lock(&index->mutex);
    index->stopping = true;
    os_cond_broadcast(&index->wanted);
    os_cond_broadcast(&index->done);
    os_mutex_unlock(&index->mutex);
    os_thread_join(&index->thread);
}

void index_free(struct index *index)
{
    if (!index)
        return;
    if (index->ops)
        stop_thread(index);
    parts_unref(index->parts);
    block_cache_free(index->cache);
    free(index->folder);
    if (index->ops) {
        os_mutex_deinit(&index->mutex);
        os_cond_deinit(&index->wanted);
        os_cond_deinit(&index->done);
    }
    free(index);
}

/* ---- adding ---- */

/* The table is full: it stays as it is, and another one grows behind it. */
static int grow_on(struct index *index)
{
    struct table *full = index->growing, *table;
    struct parts *parts = parts_new(index->parts->count + 1);
    int r = parts ? table_new(full->end + 1, full->end + index->unit, &table) : -ENOMEM;
    if (r < 0) {
        parts_unref(parts);
        return r;
    }
    for (size_t i = 0; i < index->parts->count; i++)
        parts_push(parts, &index->parts->items[i]);
    parts_push(parts, &(struct part){.first = table->first, .last = table->end, .table = table});
    table_unref(table);
    index->growing = table;
    index_replace_parts(index, parts);
    index_wake(index);
    return 0;
}

int index_add(struct index *index, const struct journal_event *event)
{
    int r = table_is_full(index->growing) ? grow_on(index) : 0;
    if (r == 0)
        r = table_add(index->growing, &index->hash, event);
    if (r == 0)
        atomic_store_explicit(&index->last, event->position, memory_order_release);
    return r;
}

/* ---- figures ---- */

uint64_t index_base(const struct index *index)
{
    return index->base;
}

uint64_t index_last(const struct index *index)
{
    return atomic_load_explicit(&index->last, memory_order_acquire);
}

static void add_part(const struct part *part, struct index_figures *figures)
{
    if (part->table) {
        figures->streams += part->table->streams_begun;
        figures->memory += table_size(part->table);
        if (part->table->last >= part->table->first)
            figures->time_last_us = part->table->time_last_us;
    }
    if (part->run) {
        figures->streams += part->run->header.streams_begun;
        figures->memory += sizeof(*part->run) + part->run->guide_blocks * sizeof(*part->run->tops);
        figures->runs++;
        figures->runs_bytes += run_size(part->run);
        figures->checkpoint = part->last;
        figures->time_last_us = part->run->header.time_last_us;
    }
}

void index_figures(struct index *index, struct index_figures *ret_figures)
{
    struct index_figures figures = {.memory = sizeof(*index), .time_last_us = INT64_MIN};
    index_lock_read(index);
    for (size_t i = 0; i < index->parts->count; i++)
        add_part(&index->parts->items[i], &figures);
    index_unlock(index);
    if (index->ops) {
        struct block_cache_counters cache;
        block_cache_counters(index->cache, &cache);
        figures.memory += cache.size;
        figures.cache_hits = cache.hits;
        figures.cache_misses = cache.misses;
        _os_locked_(&index->mutex);
        figures.rebuilds = index->rebuilds;
        figures.flushes = index->flushes;
        figures.merges = index->merges;
        figures.failure = index->failure;
    }
    *ret_figures = figures;
}

/* ---- questions ---- */

/* The parts below the table that grows, newest first, for a question that its table did not settle. */
struct older {
    struct parts *parts; /* NULL: there are none */
    size_t left;
};

/* The lock is held. */
static struct older older_begin(const struct index *index)
{
    if (index->parts->count == 1)
        return (struct older){0};
    return (struct older){.parts = parts_ref(index->parts), .left = index->parts->count - 1};
}

static const struct part *older_next(struct older *older)
{
    return older->left > 0 ? &older->parts->items[--older->left] : NULL;
}

static int version_in(const struct part *part, uint64_t term, struct bytes stream, uint64_t *version)
{
    struct run_postings postings;
    if (part->table) {
        const struct table_stream *found = table_find_stream(part->table, term, stream);
        *version = found ? found->version : 0;
        return 0;
    }
    int r = part->run ? run_find_stream(part->run, term, stream, &postings) : -EAGAIN;
    if (r == 0)
        *version = postings.count > 0 ? postings.version + postings.count - 1 : 0;
    return r;
}

int index_stream_version(const struct index *index, struct bytes stream, uint64_t *ret_version)
{
    uint64_t term = table_term(&index->hash, 's', stream), version = 0;
    struct older older = {0};
    int r = 0;
    index_lock_read(index);
    const struct part *part = &index->parts->items[index->parts->count - 1];
    const struct table_stream *found = table_find_stream(part->table, term, stream);
    if (found)
        version = found->version;
    else
        older = older_begin(index);
    index_unlock(index);
    while (r == 0 && version == 0 && (part = older_next(&older)) != NULL)
        r = version_in(part, term, stream, &version);
    parts_unref(older.parts);
    if (r < 0)
        return index_run_failed(index, r);
    *ret_version = version;
    return 0;
}

/* What is looked for among ids and keys. */
struct place_look {
    uint64_t hash;
    bool has_ms; /* an id of version 7: runs know between which milliseconds theirs lie */
    uint64_t ms;
};

static int highest_in_run(struct run *run, const struct place_look *look, uint64_t below, uint64_t *position)
{
    uint64_t highest = 0, found;
    if (look->has_ms && (look->ms < run->header.id_ms_lowest || look->ms > run->header.id_ms_highest))
        return 0;
    for (uint32_t skip = 0;; skip++) {
        int r = run_find_place(run, look->hash, skip, &found);
        if (r < 0)
            return r;
        if (found == 0)
            break;
        if (found < below && found > highest)
            highest = found;
    }
    *position = highest;
    return 0;
}

static int find_place(const struct index *index, const struct place_look *look, struct index_probe *probe,
                      uint64_t *ret_position)
{
    uint64_t below = probe->below > 0 ? probe->below : UINT64_MAX, position;
    const struct part *part;
    struct older older = {0};
    int r = 0;
    index_lock_read(index);
    position = table_find_place(index->parts->items[index->parts->count - 1].table, look->hash, below);
    if (position == 0)
        older = older_begin(index);
    index_unlock(index);
    while (r == 0 && position == 0 && (part = older_next(&older)) != NULL) {
        if (part->first >= below)
            continue;
        if (part->table)
            position = table_find_place(part->table, look->hash, below);
        else
            r = part->run ? highest_in_run(part->run, look, below, &position) : -EAGAIN;
    }
    parts_unref(older.parts);
    if (r < 0)
        return index_run_failed(index, r);
    probe->below = position;
    *ret_position = position;
    return 0;
}

int index_find_id(const struct index *index, const uint8_t id[16], struct index_probe *probe,
                  uint64_t *ret_position)
{
    struct place_look look = {.hash = table_term(&index->hash, 'i', bytes_make(id, 16))};
    look.has_ms = table_id_ms(id, &look.ms);
    return find_place(index, &look, probe, ret_position);
}

int index_find_key(const struct index *index, struct bytes key, struct index_probe *probe, uint64_t *ret_position)
{
    struct place_look look = {.hash = table_term(&index->hash, 'k', key)};
    return find_place(index, &look, probe, ret_position);
}

int index_find_time(const struct index *index, int64_t time_us, uint64_t *ret_position)
{
    struct older older = {0};
    const struct part *part;
    int r = 0;
    index_lock_read(index);
    uint64_t position = times_find(&index->parts->items[index->parts->count - 1].table->times, time_us);
    if (position == 0)
        older = older_begin(index);
    index_unlock(index);
    while (r == 0 && position == 0 && (part = older_next(&older)) != NULL) {
        if (part->table)
            position = times_find(&part->table->times, time_us);
        else
            r = part->run ? run_find_time(part->run, time_us, &position) : -EAGAIN;
    }
    parts_unref(older.parts);
    if (r < 0)
        return index_run_failed(index, r);
    *ret_position = position;
    return 0;
}

/* ---- conditions ---- */

static bool table_has_after(const struct table *table, uint64_t term, uint64_t after)
{
    const struct posting *posting = table_find_term(table, term);
    return posting && posting->last > after;
}

/* In the table that grows, under the lock: 1 yes, 0 no; -EAGAIN: older parts must say. */
static int settle_in_memory(const struct index *index, uint64_t term, uint64_t after)
{
    const struct table *growing = index->parts->items[index->parts->count - 1].table;
    if (table_has_after(growing, term, after))
        return 1;
    return index->parts->count == 1 || after >= growing->first - 1 ? 0 : -EAGAIN;
}

static int older_has_after(const struct parts *parts, uint64_t term, uint64_t after, bool *has)
{
    *has = false;
    for (size_t i = parts->count - 1; i-- > 0 && parts->items[i].last > after && !*has;) {
        const struct part *part = &parts->items[i];
        struct run_postings postings = {0};
        if (part->table) {
            *has = table_has_after(part->table, term, after);
            continue;
        }
        int r = part->run ? run_find_term(part->run, term, &postings) : -EAGAIN;
        if (r < 0)
            return r;
        *has = postings.count > 0 && part->first + postings.last > after;
    }
    return 0;
}

/* The terms of an item, asked for one after another, each in memory first. `parts` is taken when it is first needed. */
static int has_after(const struct index *index, uint64_t term, uint64_t after, struct parts **parts, bool *has)
{
    index_lock_read(index);
    int r = settle_in_memory(index, term, after);
    if (r == -EAGAIN && *parts != index->parts) {
        /* The older parts must be those of this moment: what grew a moment ago may be one of them now. */
        parts_unref(*parts);
        *parts = parts_ref(index->parts);
    }
    index_unlock(index);
    *has = r == 1;
    return r == -EAGAIN ? older_has_after(*parts, term, after, has) : 0;
}

static int may_match(const struct index *index, const struct journal_item *item, uint64_t after,
                     struct parts **parts, bool *may)
{
    int r = 0;
    *may = true;
    for (size_t i = 0; r == 0 && *may && i < item->tag_count; i++)
        r = has_after(index, table_term(&index->hash, 'g', item->tags[i]), after, parts, may);
    if (r < 0 || !*may || item->type_count == 0)
        return r;
    *may = false;
    for (size_t i = 0; r == 0 && !*may && i < item->type_count; i++)
        r = has_after(index, table_term(&index->hash, 't', item->types[i]), after, parts, may);
    return r;
}

int index_may_match(const struct index *index, const struct journal_item *item, uint64_t after, bool *ret_may)
{
    struct parts *parts = NULL;
    bool may;
    int r = may_match(index, item, after, &parts, &may);
    parts_unref(parts);
    if (r < 0)
        return index_run_failed(index, r);
    *ret_may = may;
    return 0;
}
