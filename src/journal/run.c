/* A term is looked for in this order: the line of the filter; the first terms of the blocks of guides, in memory; a block
 * of guides, which says which blocks hold terms; one such block, mostly. */

#include "journal/run.h"

#include <stdlib.h>

#include "base/cleanup.h"

/* ---- blocks ---- */

static int note(struct run *run, int r)
{
    if (r == -EBADMSG)
        atomic_store_explicit(&run->damaged, true, memory_order_relaxed);
    return r;
}

int run_read_block(struct run *run, enum run_block_kind kind, uint32_t number, uint8_t block[RUN_BLOCK_SIZE],
                   uint32_t *ret_count)
{
    size_t size;
    int r = os_file_read_full(run->ops, run->file, block, RUN_BLOCK_SIZE, (uint64_t)number * RUN_BLOCK_SIZE, &size);
    if (r == 0 && size < RUN_BLOCK_SIZE)
        r = -EBADMSG;
    if (r == 0)
        r = run_block_check(block, kind, number, run->seed, ret_count);
    if (r == -EBADMSG)
        atomic_store_explicit(&run->damaged_block, number, memory_order_relaxed);
    return note(run, r);
}

/* A part of a block, out of the cache or through it. */
static int read_part(struct run *run, enum run_block_kind kind, uint32_t number, size_t offset, size_t size,
                     uint8_t *ret_data)
{
    uint8_t block[RUN_BLOCK_SIZE];
    uint32_t count;
    if (block_cache_get(run->cache, run->serial, number, offset, size, ret_data))
        return 0;
    int r = run_read_block(run, kind, number, block, &count);
    if (r < 0)
        return r;
    block_cache_put(run->cache, run->serial, number, block);
    memcpy(ret_data, block + offset, size);
    return 0;
}

/* A whole block; its kind is known to be right, for one number has one kind in all of a run's life. */
static int read_whole(struct run *run, enum run_block_kind kind, uint32_t number, uint8_t block[RUN_BLOCK_SIZE])
{
    int r = read_part(run, kind, number, 0, RUN_BLOCK_SIZE, block);
    return r == 0 && bytes_get_u16(block) != (uint16_t)kind ? note(run, -EBADMSG) : r;
}

static uint32_t count_of(const uint8_t *block)
{
    return bytes_get_u16(block + 2);
}

static const uint8_t *payload(const uint8_t *block)
{
    return block + RUN_BLOCK_HEAD_SIZE;
}

/* ---- opening ---- */

static int read_header(struct run *run, uint64_t first, uint64_t last, const uint8_t key[16])
{
    uint8_t block[RUN_BLOCK_SIZE];
    uint64_t file_size;
    size_t size;
    int r = os_file_read_full(run->ops, run->file, block, sizeof(block), 0, &size);
    if (r == 0 && size < sizeof(block))
        r = -EBADMSG;
    if (r == 0)
        r = run_header_get(block, key, &run->header);
    if (r == 0)
        r = run->ops->size(run->ops, run->file, &file_size);
    if (r == 0 && (run->header.first != first || run->header.last != last || file_size != run_size(run)))
        r = -EBADMSG;
    return r;
}

static int read_tops(struct run *run)
{
    run->guide_blocks = run->header.tops - run->header.guides;
    run->tops = calloc((size_t)run->guide_blocks + 1, sizeof(*run->tops));
    if (!run->tops)
        return -ENOMEM;
    for (uint32_t at = 0, number = run->header.tops; at < run->guide_blocks; number++) {
        uint8_t block[RUN_BLOCK_SIZE];
        uint32_t count;
        if (number >= run->header.block_count)
            return -EBADMSG;
        int r = run_read_block(run, RUN_TOPS, number, block, &count);
        if (r == 0 && (count == 0 || count > RUN_TOPS_PER_BLOCK || count > run->guide_blocks - at))
            r = -EBADMSG;
        if (r < 0)
            return r;
        for (uint32_t i = 0; i < count; i++)
            run->tops[at++] = bytes_get_u64(payload(block) + 8 * i);
    }
    return 0;
}

int run_open(const struct os_file_ops *ops, const char *folder, uint64_t first, uint64_t last,
             const uint8_t key[16], struct block_cache *cache, struct run **ret_run)
{
    char name[RUN_FILE_NAME_SIZE], path[OS_PATH_SIZE_MAX];
    run_file_name(first, last, name);
    int r = os_path(path, folder, name);
    if (r < 0)
        return r;
    struct run *run = calloc(1, sizeof(*run));
    if (!run)
        return -ENOMEM;
    run->ops = ops;
    run->cache = cache;
    run->serial = block_cache_serial(cache);
    run->seed = run_seed(key, first, last);
    atomic_init(&run->refs, 1);
    r = ops->open(ops, path, OS_FILE_READ, &run->file);
    if (r < 0) {
        free(run);
        return r;
    }
    r = read_header(run, first, last, key);
    if (r == 0)
        r = read_tops(run);
    if (r != 0) {
        run_unref(run);
        return r;
    }
    *ret_run = run;
    return 0;
}

struct run *run_ref(struct run *run)
{
    atomic_fetch_add(&run->refs, 1);
    return run;
}

void run_unref(struct run *run)
{
    if (!run || atomic_fetch_sub(&run->refs, 1) != 1)
        return;
    (void)run->ops->close(run->ops, run->file);
    free(run->tops);
    free(run);
}

/* ---- terms ---- */

/* Whether the key may be in a section that this filter stands for. */
static int may_have(struct run *run, uint32_t filter, uint32_t end, uint64_t key, bool *ret_may)
{
    uint8_t line[RUN_LINE_SIZE];
    uint64_t at = run_filter_line(key, (uint64_t)(end - filter) * RUN_LINES_PER_BLOCK);
    int r = read_part(run, RUN_FILTER, filter + (uint32_t)(at / RUN_LINES_PER_BLOCK),
                      RUN_BLOCK_HEAD_SIZE + at % RUN_LINES_PER_BLOCK * RUN_LINE_SIZE, RUN_LINE_SIZE, line);
    if (r == 0)
        *ret_may = run_filter_has(line, key);
    return r;
}

/* The last of `count` items whose first eight bytes are below `term`, or the first. */
static uint32_t last_below(const uint8_t *items, size_t item_size, uint32_t count, uint64_t term)
{
    uint32_t low = 0, high = count - 1;
    while (low < high) {
        uint32_t middle = low + (high - low + 1) / 2;
        if (bytes_get_u64(items + middle * item_size) < term)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

/* Walks blocks of terms by their guides. */
struct walk {
    struct run *run;
    uint32_t guide, at, count; /* block of guides, place in it, how many it has */
    uint8_t guides[RUN_BLOCK_SIZE];
};

static int walk_load(struct walk *walk, uint32_t guide)
{
    int r = read_whole(walk->run, RUN_GUIDES, walk->run->header.guides + guide, walk->guides);
    walk->guide = guide;
    walk->at = 0;
    walk->count = count_of(walk->guides);
    return r == 0 && (walk->count == 0 || walk->count > RUN_GUIDES_PER_BLOCK) ? note(walk->run, -EBADMSG) : r;
}

/* Where the first entry of a term would be. */
static int walk_begin(struct walk *walk, struct run *run, uint64_t term)
{
    uint32_t low = 0, high = run->guide_blocks - 1;
    walk->run = run;
    while (low < high) {
        uint32_t middle = low + (high - low + 1) / 2;
        if (run->tops[middle] < term)
            low = middle;
        else
            high = middle - 1;
    }
    int r = walk_load(walk, low);
    if (r == 0)
        walk->at = last_below(payload(walk->guides), RUN_GUIDE_SIZE, walk->count, term);
    return r;
}

/* The block of terms it stands at; then goes on to the next. *ret_number 0: there is none. */
static int walk_step(struct walk *walk, uint8_t block[RUN_BLOCK_SIZE], uint32_t *ret_number)
{
    struct run *run = walk->run;
    if (walk->at == walk->count) {
        *ret_number = 0;
        if (walk->guide + 1 == run->guide_blocks)
            return 0;
        int r = walk_load(walk, walk->guide + 1);
        if (r < 0)
            return r;
    }
    uint32_t number = bytes_get_u32(payload(walk->guides) + walk->at++ * RUN_GUIDE_SIZE + 8);
    if (number < run->header.data || number >= run->header.guides)
        return note(run, -EBADMSG);
    *ret_number = number;
    return read_whole(run, RUN_TERMS, number, block);
}

static bool is_wanted(const struct run_entry *entry, uint64_t term, const struct bytes *name)
{
    return entry->term == term && entry->is_stream == (name != NULL) &&
           (!name || bytes_equal(entry->name, *name));
}

static int take_postings(struct run *run, const uint8_t *block, uint32_t number, const struct run_entry *entry,
                         struct run_postings *ret_postings)
{
    uint64_t span = run->header.last - run->header.first;
    bool inside = entry->blocks == 0 || (entry->block >= run->header.data && entry->block < run->header.guides &&
                                         entry->blocks <= run->header.guides - entry->block);
    if (entry->last > span || !inside)
        return note(run, -EBADMSG);
    *ret_postings = (struct run_postings){.count = entry->count,
                                          .first = entry->first,
                                          .last = entry->last,
                                          .version = entry->version,
                                          .block = entry->blocks > 0 ? entry->block : number,
                                          .blocks = entry->blocks,
                                          .chunk_size = (uint16_t)entry->chunk.size};
    if (entry->chunk.size > 0)
        ret_postings->chunk_offset = (uint16_t)(entry->chunk.data - block);
    return 0;
}

/* In one block. *past: what is looked for cannot come any more. */
static int find_in_block(struct run *run, const uint8_t *block, uint32_t number, uint64_t term,
                         const struct bytes *name, struct run_postings *postings, bool *past)
{
    struct bytes rest = bytes_make(payload(block), RUN_PAYLOAD_SIZE);
    for (uint32_t i = 0; i < count_of(block); i++) {
        struct run_entry entry;
        int r = run_entry_get(&rest, &entry);
        if (r < 0)
            return note(run, r);
        *past = entry.term > term || is_wanted(&entry, term, name);
        if (is_wanted(&entry, term, name))
            return take_postings(run, block, number, &entry, postings);
        if (*past)
            return 0;
    }
    return 0;
}

static int find(struct run *run, uint64_t term, const struct bytes *name, struct run_postings *ret_postings)
{
    struct walk walk;
    struct run_postings postings = {0};
    bool may = false, past = false;
    int r = may_have(run, run->header.term_filter, run->header.place_filter, term, &may);
    if (r == 0 && may && run->guide_blocks > 0) {
        r = walk_begin(&walk, run, term);
        while (r == 0 && !past) {
            uint8_t block[RUN_BLOCK_SIZE];
            uint32_t number;
            r = walk_step(&walk, block, &number);
            if (r == 0 && number == 0)
                break;
            if (r == 0)
                r = find_in_block(run, block, number, term, name, &postings, &past);
        }
    }
    if (r == 0)
        *ret_postings = postings;
    return r;
}

int run_find_term(struct run *run, uint64_t term, struct run_postings *ret_postings)
{
    return find(run, term, NULL, ret_postings);
}

int run_find_stream(struct run *run, uint64_t term, struct bytes name, struct run_postings *ret_postings)
{
    return find(run, term, &name, ret_postings);
}

/* ---- places ---- */

static int read_place(struct run *run, uint32_t index, uint64_t *ret_hash, uint32_t *ret_offset)
{
    uint8_t place[RUN_PLACE_SIZE];
    int r = read_part(run, RUN_PLACES, run->header.places + index / RUN_PLACES_PER_BLOCK,
                      RUN_BLOCK_HEAD_SIZE + index % RUN_PLACES_PER_BLOCK * RUN_PLACE_SIZE, RUN_PLACE_SIZE, place);
    if (r < 0)
        return r;
    *ret_hash = bytes_get_u64(place);
    *ret_offset = bytes_get_u32(place + 8);
    return 0;
}

/* Hashes are spread evenly, so a guess by proportion comes near; every other step halves what is left, whatever comes. */
static uint32_t guess(uint32_t low, uint32_t high, uint64_t hash_low, uint64_t hash_high, uint64_t hash, bool halve)
{
    uint32_t width = high - low;
    if (halve || hash <= hash_low || hash_high <= hash_low)
        return low + width / 2;
    double share = (double)(hash - hash_low) / (double)(hash_high - hash_low);
    uint32_t step = share >= 1 ? width - 1 : (uint32_t)(share * width);
    return low + (step < width ? step : width - 1);
}

/* The first place whose hash is not below `hash`; the count if there is none. */
static int lower_bound(struct run *run, uint64_t hash, uint32_t *ret_index)
{
    uint32_t low = 0, high = run->header.place_count, offset;
    uint64_t hash_low = 0, hash_high = UINT64_MAX;
    for (bool halve = false; low < high; halve = !halve) {
        uint32_t middle = guess(low, high, hash_low, hash_high, hash, halve);
        uint64_t found;
        int r = read_place(run, middle, &found, &offset);
        if (r < 0)
            return r;
        if (found < hash) {
            low = middle + 1;
            hash_low = found;
        } else {
            high = middle;
            hash_high = found;
        }
    }
    *ret_index = low;
    return 0;
}

int run_find_place(struct run *run, uint64_t hash, uint32_t skip, uint64_t *ret_position)
{
    uint64_t found = 0;
    uint32_t index = 0, offset = 0;
    bool may = false;
    int r = may_have(run, run->header.place_filter, run->header.times, hash, &may);
    if (r == 0 && may)
        r = lower_bound(run, hash, &index);
    bool some = r == 0 && may && skip < run->header.place_count - index;
    if (some)
        r = read_place(run, index + skip, &found, &offset);
    if (r == 0 && offset > run->header.last - run->header.first)
        r = note(run, -EBADMSG);
    if (r == 0)
        *ret_position = some && found == hash ? run->header.first + offset : 0;
    return r;
}

/* ---- times ---- */

static int read_time(struct run *run, uint64_t index, int64_t *ret_time_us)
{
    uint8_t time[8];
    int r = read_part(run, RUN_TIMES, run->header.times + (uint32_t)(index / RUN_TIMES_PER_BLOCK),
                      RUN_BLOCK_HEAD_SIZE + index % RUN_TIMES_PER_BLOCK * 8, 8, time);
    if (r == 0)
        *ret_time_us = (int64_t)bytes_get_u64(time);
    return r;
}

int run_find_time(struct run *run, int64_t time_us, uint64_t *ret_position)
{
    uint64_t first = times_sample_from(run->header.first), low = 0;
    uint64_t high = first > run->header.last ? 0 : (run->header.last - first) / TIMES_STEP + 1;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        int64_t found = 0;
        int r = read_time(run, middle, &found);
        if (r < 0)
            return r;
        if (found <= time_us)
            low = middle + 1;
        else
            high = middle;
    }
    *ret_position = low == 0 ? 0 : first + (low - 1) * TIMES_STEP;
    return 0;
}
