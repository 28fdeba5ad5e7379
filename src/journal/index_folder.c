/* The folder holds runs, named by their first and last positions, and what a crash has left. There is no list of the runs
 * that count: a run is written under another name and synced before it gets its own, what a larger run says and what the
 * smaller ones say that it was made of is the same, and so any choice of valid runs side by side is right. Chosen are the
 * largest that begin where the one before ends.
 *
 * Whether they are of this journal is told by the chains in them: each must begin with the chain the one before ends with,
 * and the last one's must be the log's at that position. A log that has lost its end with the machine's power, or another
 * log, has another chain there. */

#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/vector.h"
#include "journal/index_internal.h"

struct name {
    uint64_t first, last;
};

struct listing {
    struct name *names;
    size_t count, capacity;
};

/* By first position, the longest first. */
static int order_names(const void *a, const void *b)
{
    const struct name *left = a, *right = b;
    if (left->first != right->first)
        return left->first < right->first ? -1 : 1;
    return (left->last < right->last) - (left->last > right->last);
}

static void remove_file(struct index *index, const char *name)
{
    char path[OS_PATH_SIZE_MAX];
    if (os_path(path, index->folder, name) == 0)
        (void)index->ops->remove(index->ops, path);
}

/* Whether a run of ours may have this range. */
static bool is_range(const struct index *index, uint64_t first, uint64_t last)
{
    for (unsigned level = 0; level <= INDEX_LEVEL_MAX; level++) {
        uint64_t span = index_level_span(index, level);
        if (last - first + 1 == span)
            return (first - 1) % span == 0;
    }
    return false;
}

/* Runs go into the listing; what is no run, or cannot be one of ours, goes away. */
static int take_name(struct index *index, struct listing *listing, const char *name)
{
    struct name found;
    bool run = run_file_parse(name, &found.first, &found.last);
    size_t size = strlen(name);
    bool left_over = size > 4 && strcmp(name + size - 4, ".tmp") == 0;
    if ((run && !is_range(index, found.first, found.last)) || left_over) {
        if (!index->read_only)
            remove_file(index, name);
        return 0;
    }
    if (!run)
        return 0;
    int r = vector_reserve(&listing->names, &listing->capacity, listing->count + 1);
    if (r == 0)
        listing->names[listing->count++] = found;
    return r;
}

/* A folder that cannot be read has no runs. */
static int list(struct index *index, struct listing *listing)
{
    _cleanup_(buffer_deinit) struct buffer names = {0};
    int r = 0;
    if (index->ops->list(index->ops, index->folder, &names) < 0)
        return 0;
    for (size_t offset = 0; r == 0 && offset < names.size;) {
        const char *name = (const char *)names.data + offset;
        offset += strlen(name) + 1;
        r = take_name(index, listing, name);
    }
    if (listing->count > 1)
        qsort(listing->names, listing->count, sizeof(listing->names[0]), order_names);
    return r;
}

static bool chain_equal(const struct log_chain *a, const struct log_chain *b)
{
    return memcmp(a->bytes, b->bytes, LOG_CHAIN_SIZE) == 0;
}

/* The next run of the row, if it is valid and goes on with the chain. */
static bool try_run(struct index *index, const struct name *name, const struct log_chain *chain, struct run **ret_run)
{
    struct run *run;
    int r = run_open(index->ops, index->folder, name->first, name->last, index->hash.key, index->cache, &run);
    if (r != 0) {
        index_say_made_again(index, name->first, name->last, "%s",
                             r == -EBADMSG      ? "is damaged in its first or its last blocks"
                             : r == RUN_E_NEWER ? "is of a newer format than this daybook can read"
                                                : "cannot be opened");
        return false;
    }
    if (!chain_equal(&run->header.chain_before, chain)) {
        index_say_made_again(index, name->first, name->last, "does not continue the file before it");
        run_unref(run);
        return false;
    }
    *ret_run = run;
    return true;
}

static void choose(struct index *index, const struct listing *listing, struct parts *parts)
{
    struct log_chain chain = {0};
    uint64_t next = 1;
    for (size_t i = 0; i < listing->count; i++) {
        const struct name *name = &listing->names[i];
        struct run *run;
        if (name->first != next || !try_run(index, name, &chain, &run))
            continue;
        parts_push(parts, &(struct part){.first = name->first, .last = name->last, .run = run});
        chain = run->header.chain_after;
        next = name->last + 1;
        run_unref(run); /* the row has it */
    }
}

static bool log_has(const struct index *index, const struct run *run)
{
    struct log_chain chain;
    return log_chain_at(index->log, run->header.last, &chain) == 0 && chain_equal(&chain, &run->header.chain_after);
}

/* A damaged log does not know what stood behind the damage: the runs of that wait until it has been put back. */
static bool is_incomplete(const struct index *index)
{
    struct log_status status;
    log_status(index->log, &status);
    return status.incomplete;
}

/* Runs at the end that the log does not know are not this journal's. */
static void drop_foreign(const struct index *index, struct parts *parts)
{
    while (parts->count > 0 && !log_has(index, parts->items[parts->count - 1].run)) {
        const struct part *part = &parts->items[--parts->count];
        if (!is_incomplete(index))
            index_say_made_again(index, part->first, part->last, "is not of what the log holds");
        run_unref(part->run);
    }
}

static bool is_chosen(const struct parts *parts, const struct name *name)
{
    for (size_t i = 0; i < parts->count; i++)
        if (parts->items[i].first == name->first && parts->items[i].last == name->last)
            return true;
    return false;
}

static void remove_others(struct index *index, const struct listing *listing, const struct parts *parts)
{
    for (size_t i = 0; i < listing->count; i++) {
        char file[RUN_FILE_NAME_SIZE];
        if (is_chosen(parts, &listing->names[i]))
            continue;
        run_file_name(listing->names[i].first, listing->names[i].last, file);
        remove_file(index, file);
    }
}

int index_folder_open(struct index *index, struct parts **ret_parts)
{
    struct listing listing = {0};
    struct parts *parts = NULL;
    if (!index->read_only)
        (void)index->ops->make_folder(index->ops, index->folder);
    int r = list(index, &listing);
    if (r == 0)
        parts = parts_new(listing.count);
    if (parts) {
        choose(index, &listing, parts);
        drop_foreign(index, parts);
        if (!index->read_only && !is_incomplete(index))
            remove_others(index, &listing, parts);
        *ret_parts = parts;
    }
    free(listing.names);
    return parts ? 0 : -ENOMEM;
}
