/* run_builder: writes a run, in one pass over what stands in it.
 *
 * Three things are put in, each in its own order and independent of the others: times by position, places by hash, and
 * entries as run_entry_compare() orders them, each followed by its positions. The file has another name until
 * run_builder_finish() has synced it. The same things put in give the same bytes.
 */
#pragma once

#include "journal/run_format.h"
#include "os/file.h"

struct run_builder;

struct run_builder_options {
    const struct os_file_ops *ops;
    const char *folder;
    const uint8_t *key;   /* the log's, 16 bytes */
    uint64_t first, last; /* positions */
    uint64_t term_count;  /* entries at most: what their filter is made for */
    uint64_t place_count; /* places exactly */
};

/* 0 or -errno. Nothing in the options but `ops` and `folder` has to last. */
_must_check_ int run_builder_new(const struct run_builder_options *options, struct run_builder **ret_builder);
/* Lets a builder go; what it has written is removed unless it was finished. NULL is fine. */
void run_builder_free(struct run_builder *builder);
static inline void run_builder_freep(struct run_builder **builder)
{
    run_builder_free(*builder);
}

/* 0 or -errno; after that the builder can only be freed. */
_must_check_ int run_builder_time(struct run_builder *builder, int64_t time_us);
_must_check_ int run_builder_place(struct run_builder *builder, uint64_t hash, uint32_t offset);
/* An entry: term, is_stream, name and version count; the name must last until the entry's end. */
_must_check_ int run_builder_entry(struct run_builder *builder, const struct run_entry *entry);
_must_check_ int run_builder_position(struct run_builder *builder, uint32_t offset);
_must_check_ int run_builder_entry_end(struct run_builder *builder);

/* Of the header: chains, time_last_us, id_ms_…, streams_begun are taken. The file is durable under its name, once the folder
 * is synced, which is done here. */
_must_check_ int run_builder_finish(struct run_builder *builder, const struct run_header *header);

/* Bytes written so far: for who keeps to a rate. */
uint64_t run_builder_size(const struct run_builder *builder);
