/* run_format: the bytes of a run, docs/formats/index.md: an immutable file of the index on disk. Pure: no files here, and
 * nothing that is read is believed before it has been checked.
 *
 * A run is blocks of RUN_BLOCK_SIZE. Positions in it are offsets from its first, so that 32 bits hold them. Answers of the
 * readers below: 0, or -EBADMSG when the bytes cannot be what a writer wrote.
 */
#pragma once

#include "base/bytes.h"
#include "base/hash.h"
#include "log/log.h"

enum {
    RUN_FORMAT = 1,
    RUN_BLOCK_SIZE = 4096,
    RUN_BLOCK_HEAD_SIZE = 8, /* kind, count, number */
    RUN_PAYLOAD_SIZE = RUN_BLOCK_SIZE - RUN_BLOCK_HEAD_SIZE - 4,
    RUN_PLACE_SIZE = 12,
    RUN_PLACES_PER_BLOCK = RUN_PAYLOAD_SIZE / RUN_PLACE_SIZE,
    RUN_TIMES_PER_BLOCK = RUN_PAYLOAD_SIZE / 8,
    RUN_TOPS_PER_BLOCK = RUN_PAYLOAD_SIZE / 8,
    RUN_GUIDE_SIZE = 12,
    RUN_GUIDES_PER_BLOCK = RUN_PAYLOAD_SIZE / RUN_GUIDE_SIZE,
    RUN_LINE_SIZE = 64,
    RUN_LINES_PER_BLOCK = RUN_PAYLOAD_SIZE / RUN_LINE_SIZE,
    RUN_LINE_KEYS = 48,     /* keys a line of a filter is made for: about one look in a hundred is in vain */
    RUN_GROUP_COUNT = 64,   /* positions that are found and unpacked together */
    RUN_INLINE_SIZE = 1024, /* packed positions up to here stand in the entry itself */
    RUN_POSTING_HEAD_SIZE = 8,
    RUN_CHUNK_SIZE_MAX = RUN_PAYLOAD_SIZE - RUN_POSTING_HEAD_SIZE,
    RUN_NAME_SIZE_MAX = 512,
    RUN_FILE_NAME_SIZE = 46, /* two numbers of 20 digits, "-", ".run" and the NUL */
};

enum run_block_kind {
    RUN_TERMS = 1,
    RUN_POSTINGS = 2,
    RUN_PLACES = 3,
    RUN_TIMES = 4,
    RUN_FILTER = 5,
    RUN_GUIDES = 6,
    RUN_TOPS = 7,
};

/* Block 0. The sections follow in the order of the fields, each beginning where the one before ends. */
struct run_header {
    uint64_t first, last; /* positions */
    struct log_chain chain_before, chain_after;
    int64_t time_last_us;
    uint64_t id_ms_lowest, id_ms_highest; /* of the ids of version 7; lowest > highest: there are none */
    uint64_t streams_begun;
    uint32_t term_count, place_count;
    uint32_t term_filter, place_filter, times, places, data, guides, tops, block_count; /* block numbers */
};

void run_header_put(const struct run_header *header, const uint8_t key[16], uint8_t block[RUN_BLOCK_SIZE]);
enum { RUN_E_NEWER = 1 };
_must_check_ int run_header_get(const uint8_t block[RUN_BLOCK_SIZE], const uint8_t key[16],
                                struct run_header *ret_header);

/* "FIRST-LAST.run". False: the name is no run's. */
void run_file_name(uint64_t first, uint64_t last, char ret_name[RUN_FILE_NAME_SIZE]);
bool run_file_parse(const char *name, uint64_t *ret_first, uint64_t *ret_last);

/* What the checksums of a run's blocks begin with: a block of another run, or of another journal, is no block of it. */
uint32_t run_seed(const uint8_t key[16], uint64_t first, uint64_t last);

/* Fill in head and checksum; the payload stands there already. */
void run_block_seal(uint8_t *block, enum run_block_kind kind, uint32_t count, uint32_t number, uint32_t seed);
/* Check them. */
_must_check_ int run_block_check(const uint8_t *block, enum run_block_kind kind, uint32_t number, uint32_t seed,
                                 uint32_t *ret_count);

/* ---- numbers ---- */

enum { RUN_NUMBER_SIZE_MAX = 10 };
size_t run_number_put(uint8_t *to, uint64_t value);
_must_check_ int run_number_get(struct bytes *from, uint64_t *ret_value);

/* ---- filters ---- */

/* Lines of a filter for so many keys, in whole blocks. */
uint32_t run_filter_blocks(uint64_t keys);
/* Which line of so many a key falls into; it does not fall as the keys rise. */
uint64_t run_filter_line(uint64_t key, uint64_t lines);
void run_filter_add(uint8_t line[RUN_LINE_SIZE], uint64_t key);
bool run_filter_has(const uint8_t line[RUN_LINE_SIZE], uint64_t key);

/* ---- entries: what stands in a block of terms ---- */

struct run_entry {
    uint64_t term;
    bool is_stream;
    uint32_t count, first, last; /* of its positions */
    uint64_t version;            /* of a stream's first event in the run */
    struct bytes name;           /* a stream's */
    struct bytes chunk;          /* its positions, when they stand in the entry; not for one or two */
    uint32_t block, blocks;      /* else where they do; 0: they stand here */
};

/* Bytes the entry takes; what it is written as; the next of a block, taken from the front of `rest`. */
size_t run_entry_size(const struct run_entry *entry);
uint8_t *run_entry_put(uint8_t *to, const struct run_entry *entry);
_must_check_ int run_entry_get(struct bytes *rest, struct run_entry *ret_entry);

/* How two entries are ordered in a run. */
int run_entry_compare(const struct run_entry *a, const struct run_entry *b);

/* ---- chunks: ascending positions, packed ---- */

/* Makes a chunk, position by position. */
struct run_chunk {
    uint32_t count, first, last;
    uint32_t group_first[RUN_CHUNK_SIZE_MAX / RUN_GROUP_COUNT + 1]; /* from the second group on */
    uint16_t group_offset[RUN_CHUNK_SIZE_MAX / RUN_GROUP_COUNT + 1];
    size_t size;
    uint8_t deltas[RUN_CHUNK_SIZE_MAX];
};

/* False: it would be larger than `size_max`, and the chunk is as it was. */
bool run_chunk_add(struct run_chunk *chunk, uint32_t position, size_t size_max);
size_t run_chunk_size(const struct run_chunk *chunk);
void run_chunk_put(const struct run_chunk *chunk, uint8_t *to);

/* The group of a chunk of `count` positions that holds the last one not above `position`, or the first group; the group
 * with a number. */
_must_check_ int run_chunk_find(struct bytes chunk, uint32_t count, uint32_t first, uint32_t position,
                                uint32_t *ret_group);
_must_check_ int run_chunk_unpack(struct bytes chunk, uint32_t count, uint32_t first, uint32_t group,
                                  uint32_t ret_positions[RUN_GROUP_COUNT], uint32_t *ret_count);
