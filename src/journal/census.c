#include "journal/census.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/vector.h"

/* An id (version 0), or an event of a stream. */
struct entry {
    struct hash128 key; /* the id itself, or the hash of the stream's name */
    uint64_t position, version;
};

/* Entries in ascending order in the file; while merging, some of them in a slice of the memory. */
struct run {
    uint64_t next, end;     /* in the file, in entries */
    struct entry *at, *till; /* in memory */
};

struct census {
    uint8_t key[HASH_SIP_KEY_SIZE];
    struct entry *entries;
    size_t count, capacity;
    struct run *runs;
    size_t run_count, run_capacity;
    int file; /* -1: not needed yet */
    uint64_t written;
    struct entry before; /* the one checked last */
    bool begun;
    uint64_t stream_count;
    void (*tell)(void *user, uint64_t position, const char *what);
    void *user;
};

int census_new(const uint8_t *key, size_t memory_size, struct census **ret_census)
{
    struct census *census = calloc(1, sizeof(*census));

    assert(memory_size >= CENSUS_MEMORY_SIZE_MIN);
    if (!census)
        return -ENOMEM;
    memcpy(census->key, key, sizeof(census->key));
    census->file = -1;
    census->capacity = memory_size / sizeof(struct entry);
    census->entries = malloc(census->capacity * sizeof(struct entry));
    if (!census->entries) {
        census_free(census);
        return -ENOMEM;
    }
    *ret_census = census;
    return 0;
}

void census_free(struct census *census)
{
    if (!census)
        return;
    if (census->file >= 0)
        (void)close(census->file);
    free(census->entries);
    free(census->runs);
    free(census);
}

/* ---- gathering ---- */

/* Ids before streams; what belongs together side by side, in the order of positions. */
static int compare(const void *a, const void *b)
{
    const struct entry *left = a, *right = b;

    if ((left->version == 0) != (right->version == 0))
        return left->version == 0 ? -1 : 1;
    if (left->key.high != right->key.high)
        return left->key.high < right->key.high ? -1 : 1;
    if (left->key.low != right->key.low)
        return left->key.low < right->key.low ? -1 : 1;
    return (left->position > right->position) - (left->position < right->position);
}

/* A file that is gone with its descriptor. */
static int open_file(struct census *census)
{
    const char *folder = getenv("TMPDIR");
    char path[4096];

    if (census->file >= 0)
        return 0;
    if ((size_t)snprintf(path, sizeof(path), "%s/daybook-verify-XXXXXX", folder && *folder ? folder : "/tmp") >= sizeof(path))
        return -ENAMETOOLONG;
    census->file = mkstemp(path);
    if (census->file < 0)
        return -errno;
    (void)unlink(path);
    return 0;
}

static int write_all(int file, const void *data, size_t size, uint64_t offset)
{
    const uint8_t *from = data;

    while (size > 0) {
        ssize_t written = pwrite(file, from, size, (off_t)offset);
        if (written < 0 && errno != EINTR)
            return -errno;
        if (written > 0) {
            from += written;
            offset += (uint64_t)written;
            size -= (size_t)written;
        }
    }
    return 0;
}

/* What is in memory becomes a run. */
static int write_run(struct census *census)
{
    int r = open_file(census);

    if (r == 0)
        r = vector_reserve(&census->runs, &census->run_capacity, census->run_count + 1);
    if (r < 0)
        return r;
    qsort(census->entries, census->count, sizeof(struct entry), compare);
    r = write_all(census->file, census->entries, census->count * sizeof(struct entry),
                  census->written * sizeof(struct entry));
    if (r < 0)
        return r;
    census->runs[census->run_count++] =
        (struct run){.next = census->written, .end = census->written + census->count};
    census->written += census->count;
    census->count = 0;
    return 0;
}

static int add(struct census *census, struct entry entry)
{
    int r = census->count == census->capacity ? write_run(census) : 0;

    if (r == 0)
        census->entries[census->count++] = entry;
    return r;
}

int census_add(struct census *census, const struct journal_event *event)
{
    struct entry id = {.position = event->position};

    memcpy(&id.key, event->id, sizeof(id.key));
    int r = add(census, id);
    if (r == 0 && event->stream.size > 0)
        r = add(census, (struct entry){.key = hash_sip128(event->stream, census->key),
                                       .position = event->position,
                                       .version = event->version});
    return r;
}

/* ---- checking ---- */

static void check(struct census *census, const struct entry *entry)
{
    const struct entry *before = &census->before;
    bool is_id = entry->version == 0;
    bool same = census->begun && (before->version == 0) == is_id && hash128_equal(before->key, entry->key);

    if (is_id && same)
        census->tell(census->user, entry->position, "its id stands at an earlier event already");
    if (!is_id && entry->version != (same ? before->version + 1 : 1))
        census->tell(census->user, entry->position, "its version does not continue its stream");
    census->stream_count += !is_id && !same;
    census->before = *entry;
    census->begun = true;
}

/* The next slice of a run. */
static int refill(struct census *census, struct run *run, struct entry *slice, size_t size)
{
    uint64_t left = run->end - run->next;
    size_t count = left < size ? (size_t)left : size;
    uint8_t *to = (uint8_t *)slice;
    size_t wanted = count * sizeof(struct entry);
    uint64_t offset = run->next * sizeof(struct entry);

    while (wanted > 0) {
        ssize_t got = pread(census->file, to, wanted, (off_t)offset);
        if (got == 0 || (got < 0 && errno != EINTR))
            return got == 0 ? -EIO : -errno;
        if (got > 0) {
            to += got;
            offset += (uint64_t)got;
            wanted -= (size_t)got;
        }
    }
    run->at = slice;
    run->till = slice + count;
    run->next += count;
    return 0;
}

/* A heap of runs by their first entries: heap[0] is the lowest. Puts what stands at `index` where it belongs. */
static void sift(struct run **heap, size_t count, size_t index)
{
    for (;;) {
        size_t low = index;

        for (size_t child = 2 * index + 1; child <= 2 * index + 2 && child < count; child++)
            if (compare(heap[child]->at, heap[low]->at) < 0)
                low = child;
        if (low == index)
            return;
        struct run *swapped = heap[index];
        heap[index] = heap[low];
        heap[low] = swapped;
        index = low;
    }
}

/* The memory is cut into a slice for each run. */
static int merge(struct census *census, struct run **heap)
{
    size_t size = census->capacity / census->run_count, count = census->run_count;
    int r = 0;

    if (size == 0)
        return -E2BIG; /* more runs than entries in memory: never with CENSUS_MEMORY_SIZE */
    for (size_t i = 0; r == 0 && i < count; i++) {
        heap[i] = &census->runs[i];
        r = refill(census, heap[i], census->entries + i * size, size);
    }
    for (size_t i = count; r == 0 && i > 0; i--)
        sift(heap, count, i - 1);
    while (r == 0 && count > 0) {
        struct run *run = heap[0];
        check(census, run->at++);
        if (run->at == run->till && run->next < run->end)
            r = refill(census, run, census->entries + (size_t)(run - census->runs) * size, size);
        else if (run->at == run->till)
            heap[0] = heap[--count];
        sift(heap, count, 0);
    }
    return r;
}

static int check_runs(struct census *census)
{
    int r = census->count > 0 ? write_run(census) : 0;
    struct run **heap = r == 0 ? malloc(census->run_count * sizeof(struct run *)) : NULL;

    if (r == 0)
        r = heap ? merge(census, heap) : -ENOMEM;
    free(heap);
    return r;
}

int census_check(struct census *census, void (*tell)(void *user, uint64_t position, const char *what), void *user,
                 uint64_t *ret_stream_count)
{
    int r = 0;

    census->tell = tell;
    census->user = user;
    if (census->run_count > 0) {
        r = check_runs(census);
    } else {
        qsort(census->entries, census->count, sizeof(struct entry), compare);
        for (size_t i = 0; i < census->count; i++)
            check(census, &census->entries[i]);
    }
    if (r == 0)
        *ret_stream_count = census->stream_count;
    return r;
}
