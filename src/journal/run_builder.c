/* Sections whose size is known beforehand come first, so that all can be filled side by side; the data, whose size shows
 * at the end, and what leads to it come last. Guides are kept in memory meanwhile: twelve bytes for each block of terms. */

#include "journal/run_builder.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "journal/times.h"

struct section {
    enum run_block_kind kind;
    uint32_t number; /* of the block at hand */
    uint32_t count;  /* items in it */
    uint8_t block[RUN_BLOCK_SIZE];
};

struct run_builder {
    const struct os_file_ops *ops;
    const char *folder;
    uint8_t key[16];
    char path[OS_PATH_SIZE_MAX], temporary[OS_PATH_SIZE_MAX];
    int file; /* -1: closed */
    bool finished;
    uint32_t seed;
    struct run_header header;
    struct section term_filter, place_filter, times, places, terms;
    size_t terms_size;  /* bytes of the block of terms at hand */
    uint64_t term_last; /* the entry before */
    uint32_t data_next; /* block number */
    uint64_t written;
    struct buffer guides;
    struct run_entry entry; /* at hand */
    bool spilled;           /* its positions go to blocks of their own */
    struct run_chunk chunk;
    uint32_t chunk_ordinal;
};

static uint32_t blocks_for(uint64_t items, uint32_t per_block)
{
    return (uint32_t)((items + per_block - 1) / per_block);
}

static int write_block(struct run_builder *builder, uint32_t number, const uint8_t *block)
{
    builder->written += RUN_BLOCK_SIZE;
    return os_file_write_full(builder->ops, builder->file, block, RUN_BLOCK_SIZE, (uint64_t)number * RUN_BLOCK_SIZE);
}

/* Write the block at hand and begin the next. */
static int section_emit(struct run_builder *builder, struct section *section)
{
    run_block_seal(section->block, section->kind, section->count, section->number, builder->seed);
    int r = write_block(builder, section->number, section->block);
    section->number++;
    section->count = 0;
    memset(section->block, 0, RUN_BLOCK_SIZE);
    return r;
}

/* Where the next item of fixed size goes; the block is written when it is full. */
static int section_add(struct run_builder *builder, struct section *section, const uint8_t *item, size_t size)
{
    memcpy(section->block + RUN_BLOCK_HEAD_SIZE + section->count * size, item, size);
    section->count++;
    return (section->count + 1) * size > RUN_PAYLOAD_SIZE ? section_emit(builder, section) : 0;
}

static int filter_add(struct run_builder *builder, struct section *section, uint32_t begin, uint32_t end, uint64_t key)
{
    uint64_t line = run_filter_line(key, (uint64_t)(end - begin) * RUN_LINES_PER_BLOCK);
    uint32_t number = begin + (uint32_t)(line / RUN_LINES_PER_BLOCK);
    assert(number >= section->number); /* keys come in order */
    while (section->number < number) {
        int r = section_emit(builder, section);
        if (r < 0)
            return r;
    }
    run_filter_add(section->block + RUN_BLOCK_HEAD_SIZE + line % RUN_LINES_PER_BLOCK * RUN_LINE_SIZE, key);
    return 0;
}

static int section_end(struct run_builder *builder, struct section *section, uint32_t end)
{
    int r = 0;
    while (r == 0 && section->number < end)
        r = section_emit(builder, section);
    return r;
}

/* ---- beginning ---- */

static void lay_out(struct run_builder *builder, const struct run_builder_options *options)
{
    struct run_header *header = &builder->header;
    uint64_t sample = times_sample_from(options->first);
    uint64_t times = sample > options->last ? 0 : (options->last - sample) / TIMES_STEP + 1;
    *header = (struct run_header){.first = options->first, .last = options->last};
    header->place_count = (uint32_t)options->place_count;
    header->term_filter = 1;
    header->place_filter = header->term_filter + run_filter_blocks(options->term_count);
    header->times = header->place_filter + run_filter_blocks(options->place_count);
    header->places = header->times + blocks_for(times, RUN_TIMES_PER_BLOCK);
    header->data = header->places + blocks_for(options->place_count, RUN_PLACES_PER_BLOCK);
    builder->term_filter = (struct section){.kind = RUN_FILTER, .number = header->term_filter};
    builder->place_filter = (struct section){.kind = RUN_FILTER, .number = header->place_filter};
    builder->times = (struct section){.kind = RUN_TIMES, .number = header->times};
    builder->places = (struct section){.kind = RUN_PLACES, .number = header->places};
    builder->terms = (struct section){.kind = RUN_TERMS};
    builder->data_next = header->data;
}

int run_builder_new(const struct run_builder_options *options, struct run_builder **ret_builder)
{
    char name[RUN_FILE_NAME_SIZE];
    struct run_builder *builder = calloc(1, sizeof(*builder));
    if (!builder)
        return -ENOMEM;
    builder->ops = options->ops;
    builder->folder = options->folder;
    builder->file = -1;
    memcpy(builder->key, options->key, sizeof(builder->key));
    builder->seed = run_seed(options->key, options->first, options->last);
    buffer_init(&builder->guides, 0);
    lay_out(builder, options);
    run_file_name(options->first, options->last, name);
    int r = os_path(builder->path, options->folder, name);
    if (r == 0 && (size_t)snprintf(builder->temporary, OS_PATH_SIZE_MAX, "%s.tmp", builder->path) >= OS_PATH_SIZE_MAX)
        r = -ENAMETOOLONG;
    if (r == 0)
        r = builder->ops->open(builder->ops, builder->temporary, OS_FILE_WRITE | OS_FILE_CREATE | OS_FILE_TRUNCATE,
                               &builder->file);
    if (r < 0) {
        builder->file = -1;
        builder->temporary[0] = '\0';
        run_builder_free(builder);
        return r;
    }
    *ret_builder = builder;
    return 0;
}

void run_builder_free(struct run_builder *builder)
{
    if (!builder)
        return;
    if (builder->file >= 0)
        (void)builder->ops->close(builder->ops, builder->file);
    if (!builder->finished && builder->temporary[0])
        (void)builder->ops->remove(builder->ops, builder->temporary);
    buffer_deinit(&builder->guides);
    free(builder);
}

uint64_t run_builder_size(const struct run_builder *builder)
{
    return builder->written;
}

/* ---- times and places ---- */

int run_builder_time(struct run_builder *builder, int64_t time_us)
{
    uint8_t item[8];
    bytes_put_u64(item, (uint64_t)time_us);
    return section_add(builder, &builder->times, item, sizeof(item));
}

int run_builder_place(struct run_builder *builder, uint64_t hash, uint32_t offset)
{
    const struct run_header *header = &builder->header;
    uint8_t item[RUN_PLACE_SIZE];
    bytes_put_u64(item, hash);
    bytes_put_u32(item + 8, offset);
    int r = filter_add(builder, &builder->place_filter, header->place_filter, header->times, hash);
    return r == 0 ? section_add(builder, &builder->places, item, sizeof(item)) : r;
}

/* ---- entries ---- */

int run_builder_entry(struct run_builder *builder, const struct run_entry *entry)
{
    const struct run_header *header = &builder->header;
    assert(entry->name.size <= RUN_NAME_SIZE_MAX);
    builder->entry = (struct run_entry){
        .term = entry->term, .is_stream = entry->is_stream, .name = entry->name, .version = entry->version};
    builder->spilled = false;
    builder->chunk.count = 0;
    builder->chunk.size = 0;
    builder->chunk_ordinal = 0;
    return filter_add(builder, &builder->term_filter, header->term_filter, header->place_filter, entry->term);
}

static int emit_postings(struct run_builder *builder)
{
    struct section section = {.kind = RUN_POSTINGS, .number = builder->data_next++, .count = builder->chunk.count};
    bytes_put_u32(section.block + RUN_BLOCK_HEAD_SIZE, builder->chunk.first);
    bytes_put_u32(section.block + RUN_BLOCK_HEAD_SIZE + 4, builder->chunk_ordinal);
    run_chunk_put(&builder->chunk, section.block + RUN_BLOCK_HEAD_SIZE + RUN_POSTING_HEAD_SIZE);
    if (builder->entry.blocks == 0)
        builder->entry.block = section.number;
    builder->entry.blocks++;
    builder->chunk_ordinal += builder->chunk.count;
    builder->chunk.count = 0;
    builder->chunk.size = 0;
    return section_emit(builder, &section);
}

int run_builder_position(struct run_builder *builder, uint32_t offset)
{
    struct run_entry *entry = &builder->entry;
    int r = 0;
    if (entry->count == 0)
        entry->first = offset;
    assert(entry->count == 0 || offset > entry->last);
    entry->last = offset;
    entry->count++;
    if (!builder->spilled && run_chunk_add(&builder->chunk, offset, RUN_INLINE_SIZE))
        return 0;
    builder->spilled = true;
    if (run_chunk_add(&builder->chunk, offset, RUN_CHUNK_SIZE_MAX))
        return 0;
    r = emit_postings(builder);
    (void)run_chunk_add(&builder->chunk, offset, RUN_CHUNK_SIZE_MAX); /* an empty one takes it */
    return r;
}

static int emit_terms(struct run_builder *builder)
{
    uint8_t guide[RUN_GUIDE_SIZE];
    builder->terms.number = builder->data_next++;
    memcpy(guide, builder->terms.block + RUN_BLOCK_HEAD_SIZE, 8); /* the first entry begins with its term */
    bytes_put_u32(guide + 8, builder->terms.number);
    builder->terms_size = 0;
    int r = buffer_append(&builder->guides, guide, sizeof(guide));
    return r == 0 ? section_emit(builder, &builder->terms) : r;
}

int run_builder_entry_end(struct run_builder *builder)
{
    struct run_entry *entry = &builder->entry;
    uint8_t packed[RUN_INLINE_SIZE];
    int r = 0;
    assert(entry->count > 0);
    if (builder->spilled) {
        r = emit_postings(builder);
    } else if (entry->count > 2) {
        run_chunk_put(&builder->chunk, packed);
        entry->chunk = bytes_make(packed, run_chunk_size(&builder->chunk));
    }
    size_t size = run_entry_size(entry);
    if (r == 0 && builder->terms_size + size > RUN_PAYLOAD_SIZE)
        r = emit_terms(builder);
    if (r < 0)
        return r;
    (void)run_entry_put(builder->terms.block + RUN_BLOCK_HEAD_SIZE + builder->terms_size, entry);
    builder->terms_size += size;
    builder->terms.count++;
    builder->header.term_count++;
    return 0;
}

/* ---- the end ---- */

/* Items of fixed size, in blocks from `number` on. */
static int write_items(struct run_builder *builder, enum run_block_kind kind, uint32_t number, struct bytes items,
                       size_t size)
{
    struct section section = {.kind = kind, .number = number};
    int r = 0;
    for (size_t at = 0; r == 0 && at < items.size; at += size)
        r = section_add(builder, &section, items.data + at, size);
    return r == 0 && section.count > 0 ? section_emit(builder, &section) : r;
}

static int write_guides(struct run_builder *builder)
{
    _cleanup_(buffer_deinit) struct buffer tops = {0};
    struct run_header *header = &builder->header;
    size_t step = (size_t)RUN_GUIDES_PER_BLOCK * RUN_GUIDE_SIZE;
    int r = 0;
    for (size_t at = 0; r == 0 && at < builder->guides.size; at += step)
        r = buffer_append(&tops, builder->guides.data + at, 8);
    header->guides = builder->data_next;
    header->tops = header->guides + blocks_for(builder->guides.size / RUN_GUIDE_SIZE, RUN_GUIDES_PER_BLOCK);
    header->block_count = header->tops + blocks_for(tops.size / 8, RUN_TOPS_PER_BLOCK);
    if (r == 0)
        r = write_items(builder, RUN_GUIDES, header->guides, buffer_bytes(&builder->guides), RUN_GUIDE_SIZE);
    return r == 0 ? write_items(builder, RUN_TOPS, header->tops, buffer_bytes(&tops), 8) : r;
}

static int write_sections(struct run_builder *builder)
{
    struct run_header *header = &builder->header;
    int r = section_end(builder, &builder->term_filter, header->place_filter);
    if (r == 0)
        r = section_end(builder, &builder->place_filter, header->times);
    if (r == 0)
        r = section_end(builder, &builder->times, header->places);
    if (r == 0)
        r = section_end(builder, &builder->places, header->data);
    if (r == 0 && builder->terms.count > 0)
        r = emit_terms(builder);
    return r == 0 ? write_guides(builder) : r;
}

static int write_header(struct run_builder *builder, const struct run_header *known)
{
    struct run_header *header = &builder->header;
    uint8_t block[RUN_BLOCK_SIZE];
    header->chain_before = known->chain_before;
    header->chain_after = known->chain_after;
    header->time_last_us = known->time_last_us;
    header->id_ms_lowest = known->id_ms_lowest;
    header->id_ms_highest = known->id_ms_highest;
    header->streams_begun = known->streams_begun;
    run_header_put(header, builder->key, block);
    return write_block(builder, 0, block);
}

int run_builder_finish(struct run_builder *builder, const struct run_header *header)
{
    const struct os_file_ops *ops = builder->ops;
    int r = write_sections(builder);
    if (r == 0)
        r = write_header(builder, header);
    if (r == 0)
        r = ops->sync(ops, builder->file);
    int closed = ops->close(ops, builder->file);
    builder->file = -1;
    r = error_first(r, closed);
    if (r == 0)
        r = ops->rename(ops, builder->temporary, builder->path);
    if (r < 0)
        return r;
    builder->finished = true;
    return ops->sync_folder(ops, builder->folder);
}
