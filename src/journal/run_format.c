/* Numbers are LEB128. A filter's line is chosen by the high bits of the key, so that a writer that has its keys in order
 * makes the lines in order; seven bits of the line follow from a product that depends on all bits of the key. */

#include "journal/run_format.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/crc32c.h"

enum { LINE_BITS = 7, GROUP_HEAD_SIZE = 6 };

static const uint8_t magic[8] = {'d', 'a', 'y', 'i', 'n', 'd', 'e', 'x'};

/* ---- header ---- */

static uint32_t header_check(const uint8_t *block, const uint8_t key[16])
{
    return crc32c_extend(crc32c(bytes_make(key, 16)), bytes_make(block, RUN_BLOCK_SIZE - 4));
}

void run_header_put(const struct run_header *header, const uint8_t key[16], uint8_t block[RUN_BLOCK_SIZE])
{
    const uint32_t numbers[] = {header->term_count, header->place_count, header->term_filter,
                                header->place_filter, header->times,     header->places,
                                header->data,       header->guides,      header->tops,
                                header->block_count};
    memset(block, 0, RUN_BLOCK_SIZE);
    memcpy(block, magic, sizeof(magic));
    bytes_put_u32(block + 8, RUN_FORMAT);
    bytes_put_u64(block + 16, header->first);
    bytes_put_u64(block + 24, header->last);
    memcpy(block + 32, header->chain_before.bytes, LOG_CHAIN_SIZE);
    memcpy(block + 64, header->chain_after.bytes, LOG_CHAIN_SIZE);
    bytes_put_u64(block + 96, (uint64_t)header->time_last_us);
    bytes_put_u64(block + 104, header->id_ms_lowest);
    bytes_put_u64(block + 112, header->id_ms_highest);
    bytes_put_u64(block + 120, header->streams_begun);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        bytes_put_u32(block + 128 + 4 * i, numbers[i]);
    bytes_put_u32(block + RUN_BLOCK_SIZE - 4, header_check(block, key));
}

static bool sections_make_sense(const struct run_header *header)
{
    const uint32_t starts[] = {1,           header->term_filter, header->place_filter, header->times, header->places,
                               header->data, header->guides,      header->tops,         header->block_count};
    for (size_t i = 1; i < sizeof(starts) / sizeof(starts[0]); i++)
        if (starts[i] < starts[i - 1])
            return false;
    return header->first > 0 && header->last >= header->first && header->last - header->first < UINT32_MAX &&
           header->term_filter == 1;
}

int run_header_get(const uint8_t block[RUN_BLOCK_SIZE], const uint8_t key[16], struct run_header *ret_header)
{
    struct run_header header;
    uint32_t *const numbers[] = {&header.term_count, &header.place_count, &header.term_filter,
                                 &header.place_filter, &header.times,     &header.places,
                                 &header.data,       &header.guides,      &header.tops,
                                 &header.block_count};
    if (memcmp(block, magic, sizeof(magic)) != 0 ||
        bytes_get_u32(block + RUN_BLOCK_SIZE - 4) != header_check(block, key))
        return -EBADMSG;
    if (bytes_get_u32(block + 8) != RUN_FORMAT)
        return RUN_E_NEWER;
    header.first = bytes_get_u64(block + 16);
    header.last = bytes_get_u64(block + 24);
    memcpy(header.chain_before.bytes, block + 32, LOG_CHAIN_SIZE);
    memcpy(header.chain_after.bytes, block + 64, LOG_CHAIN_SIZE);
    header.time_last_us = (int64_t)bytes_get_u64(block + 96);
    header.id_ms_lowest = bytes_get_u64(block + 104);
    header.id_ms_highest = bytes_get_u64(block + 112);
    header.streams_begun = bytes_get_u64(block + 120);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        *numbers[i] = bytes_get_u32(block + 128 + 4 * i);
    if (!sections_make_sense(&header))
        return -EBADMSG;
    *ret_header = header;
    return 0;
}

void run_file_name(uint64_t first, uint64_t last, char ret_name[RUN_FILE_NAME_SIZE])
{
    snprintf(ret_name, RUN_FILE_NAME_SIZE, "%020" PRIu64 "-%020" PRIu64 ".run", first, last);
}

bool run_file_parse(const char *name, uint64_t *ret_first, uint64_t *ret_last)
{
    char again[RUN_FILE_NAME_SIZE];
    uint64_t first, last;
    if (strlen(name) != RUN_FILE_NAME_SIZE - 1)
        return false;
    if (bytes_parse_u64(bytes_make(name, 20), &first) != 0 ||
        bytes_parse_u64(bytes_make(name + 21, 20), &last) != 0)
        return false;
    run_file_name(first, last, again);
    if (strcmp(name, again) != 0 || first == 0 || last < first)
        return false;
    *ret_first = first;
    *ret_last = last;
    return true;
}

/* ---- blocks ---- */

uint32_t run_seed(const uint8_t key[16], uint64_t first, uint64_t last)
{
    uint8_t range[16];
    bytes_put_u64(range, first);
    bytes_put_u64(range + 8, last);
    return crc32c_extend(crc32c(bytes_make(key, 16)), bytes_make(range, sizeof(range)));
}

static uint32_t block_check(const uint8_t *block, uint32_t seed)
{
    return crc32c_extend(seed, bytes_make(block, RUN_BLOCK_SIZE - 4));
}

void run_block_seal(uint8_t *block, enum run_block_kind kind, uint32_t count, uint32_t number, uint32_t seed)
{
    bytes_put_u16(block, (uint16_t)kind);
    bytes_put_u16(block + 2, (uint16_t)count);
    bytes_put_u32(block + 4, number);
    bytes_put_u32(block + RUN_BLOCK_SIZE - 4, block_check(block, seed));
}

int run_block_check(const uint8_t *block, enum run_block_kind kind, uint32_t number, uint32_t seed,
                    uint32_t *ret_count)
{
    if (bytes_get_u32(block + RUN_BLOCK_SIZE - 4) != block_check(block, seed) ||
        bytes_get_u16(block) != (uint16_t)kind || bytes_get_u32(block + 4) != number)
        return -EBADMSG;
    *ret_count = bytes_get_u16(block + 2);
    return 0;
}

/* ---- numbers ---- */

size_t run_number_put(uint8_t *to, uint64_t value)
{
    size_t size = 0;
    for (; value >= 0x80; value >>= 7)
        to[size++] = (uint8_t)(value | 0x80);
    to[size++] = (uint8_t)value;
    return size;
}

int run_number_get(struct bytes *from, uint64_t *ret_value)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && from->size > 0; shift += 7) {
        uint8_t byte = *from->data;
        *from = bytes_make(from->data + 1, from->size - 1);
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *ret_value = value;
            return 0;
        }
    }
    return -EBADMSG;
}

static int get_u32(struct bytes *from, uint32_t *ret_value)
{
    uint64_t value;
    int r = run_number_get(from, &value);
    if (r == 0 && value > UINT32_MAX)
        r = -EBADMSG;
    if (r == 0)
        *ret_value = (uint32_t)value;
    return r;
}

/* ---- filters ---- */

uint32_t run_filter_blocks(uint64_t keys)
{
    uint64_t lines = keys / RUN_LINE_KEYS + 1;
    return (uint32_t)((lines + RUN_LINES_PER_BLOCK - 1) / RUN_LINES_PER_BLOCK);
}

uint64_t run_filter_line(uint64_t key, uint64_t lines)
{
    return (uint64_t)((unsigned __int128)key * lines >> 64);
}

static uint64_t line_bits(uint64_t key)
{
    key *= UINT64_C(0x9e3779b97f4a7c15);
    return (key ^ key >> 29) * UINT64_C(0xbf58476d1ce4e5b9);
}

void run_filter_add(uint8_t line[RUN_LINE_SIZE], uint64_t key)
{
    uint64_t bits = line_bits(key);
    for (unsigned i = 0; i < LINE_BITS; i++, bits >>= 9)
        line[(bits & 511) / 8] |= (uint8_t)(1u << bits % 8);
}

bool run_filter_has(const uint8_t line[RUN_LINE_SIZE], uint64_t key)
{
    uint64_t bits = line_bits(key);
    for (unsigned i = 0; i < LINE_BITS; i++, bits >>= 9)
        if (!(line[(bits & 511) / 8] & 1u << bits % 8))
            return false;
    return true;
}

/* ---- entries ---- */

uint8_t *run_entry_put(uint8_t *to, const struct run_entry *entry)
{
    bytes_put_u64(to, entry->term);
    to += 8;
    to += run_number_put(to, (uint64_t)entry->count << 1 | entry->is_stream);
    to += run_number_put(to, entry->first);
    if (entry->count > 1)
        to += run_number_put(to, entry->last - entry->first);
    if (entry->is_stream) {
        to += run_number_put(to, entry->version);
        to += run_number_put(to, entry->name.size);
        memcpy(to, entry->name.data, entry->name.size);
        to += entry->name.size;
    }
    if (entry->count <= 2)
        return to;
    to += run_number_put(to, entry->chunk.size);
    if (entry->chunk.size > 0) {
        memcpy(to, entry->chunk.data, entry->chunk.size);
        return to + entry->chunk.size;
    }
    to += run_number_put(to, entry->block);
    return to + run_number_put(to, entry->blocks);
}

size_t run_entry_size(const struct run_entry *entry)
{
    uint8_t head[8 + RUN_NUMBER_SIZE_MAX * 8 + RUN_NAME_SIZE_MAX];
    struct run_entry bare = *entry;
    bare.chunk = (struct bytes){0};
    if (entry->count <= 2 || entry->chunk.size == 0)
        return (size_t)(run_entry_put(head, &bare) - head);
    bare.count = 2; /* without what follows the name; then the size's own size */
    size_t size = (size_t)(run_entry_put(head, &bare) - head);
    size += run_number_put(head, (uint64_t)entry->count << 1) - run_number_put(head, 2 << 1);
    return size + run_number_put(head, entry->chunk.size) + entry->chunk.size;
}

static int get_bytes(struct bytes *rest, size_t size, struct bytes *ret_bytes)
{
    if (size > rest->size)
        return -EBADMSG;
    *ret_bytes = bytes_make(rest->data, size);
    *rest = bytes_make(rest->data + size, rest->size - size);
    return 0;
}

static int get_stream(struct bytes *rest, struct run_entry *entry)
{
    uint32_t name_size;
    int r = run_number_get(rest, &entry->version);
    if (r == 0)
        r = get_u32(rest, &name_size);
    if (r == 0 && (name_size > RUN_NAME_SIZE_MAX || entry->version == 0))
        r = -EBADMSG;
    return r == 0 ? get_bytes(rest, name_size, &entry->name) : r;
}

static int get_chunk(struct bytes *rest, struct run_entry *entry)
{
    uint32_t size;
    int r = get_u32(rest, &size);
    if (r < 0)
        return r;
    if (size > 0)
        return get_bytes(rest, size, &entry->chunk);
    r = get_u32(rest, &entry->block);
    if (r == 0)
        r = get_u32(rest, &entry->blocks);
    return r == 0 && (entry->block == 0 || entry->blocks == 0) ? -EBADMSG : r;
}

int run_entry_get(struct bytes *rest, struct run_entry *ret_entry)
{
    struct run_entry entry = {0};
    struct bytes term;
    uint64_t count;
    uint32_t span = 0;
    int r = get_bytes(rest, 8, &term);
    if (r == 0)
        r = run_number_get(rest, &count);
    if (r == 0)
        r = get_u32(rest, &entry.first);
    if (r < 0)
        return r;
    entry.term = bytes_get_u64(term.data);
    entry.is_stream = count & 1;
    if (count >> 1 == 0 || count >> 1 > UINT32_MAX)
        return -EBADMSG;
    entry.count = (uint32_t)(count >> 1);
    if (entry.count > 1)
        r = get_u32(rest, &span);
    if (r == 0 && ((entry.count > 1 && span < entry.count - 1) || span > UINT32_MAX - entry.first))
        r = -EBADMSG;
    entry.last = entry.first + span;
    if (r == 0 && entry.is_stream)
        r = get_stream(rest, &entry);
    if (r == 0 && entry.count > 2)
        r = get_chunk(rest, &entry);
    if (r == 0)
        *ret_entry = entry;
    return r;
}

int run_entry_compare(const struct run_entry *a, const struct run_entry *b)
{
    if (a->term != b->term)
        return a->term < b->term ? -1 : 1;
    if (a->is_stream != b->is_stream)
        return a->is_stream ? 1 : -1;
    return bytes_compare(a->name, b->name);
}

/* ---- chunks ---- */

static size_t groups_before(uint32_t count)
{
    return count > 0 ? (count - 1) / RUN_GROUP_COUNT : 0;
}

size_t run_chunk_size(const struct run_chunk *chunk)
{
    return groups_before(chunk->count) * GROUP_HEAD_SIZE + chunk->size;
}

bool run_chunk_add(struct run_chunk *chunk, uint32_t position, size_t size_max)
{
    uint8_t number[RUN_NUMBER_SIZE_MAX];
    size_t size = 0, group = chunk->count / RUN_GROUP_COUNT;
    bool begins = chunk->count % RUN_GROUP_COUNT == 0;
    if (!begins)
        size = run_number_put(number, position - chunk->last);
    if (chunk->count > 0 && groups_before(chunk->count + 1) * GROUP_HEAD_SIZE + chunk->size + size > size_max)
        return false;
    if (chunk->count == 0)
        chunk->first = position;
    else if (begins) {
        chunk->group_first[group - 1] = position;
        chunk->group_offset[group - 1] = (uint16_t)chunk->size;
    }
    memcpy(chunk->deltas + chunk->size, number, size);
    chunk->size += size;
    chunk->last = position;
    chunk->count++;
    return true;
}

void run_chunk_put(const struct run_chunk *chunk, uint8_t *to)
{
    for (size_t i = 0; i < groups_before(chunk->count); i++, to += GROUP_HEAD_SIZE) {
        bytes_put_u32(to, chunk->group_first[i]);
        bytes_put_u16(to + 4, chunk->group_offset[i]);
    }
    memcpy(to, chunk->deltas, chunk->size);
}

static uint32_t group_first(struct bytes chunk, uint32_t first, uint32_t group)
{
    return group == 0 ? first : bytes_get_u32(chunk.data + (size_t)(group - 1) * GROUP_HEAD_SIZE);
}

int run_chunk_find(struct bytes chunk, uint32_t count, uint32_t first, uint32_t position, uint32_t *ret_group)
{
    uint32_t low = 0, high = (uint32_t)groups_before(count);
    if (chunk.size < high * GROUP_HEAD_SIZE)
        return -EBADMSG;
    while (low < high) {
        uint32_t middle = low + (high - low + 1) / 2;
        if (group_first(chunk, first, middle) <= position)
            low = middle;
        else
            high = middle - 1;
    }
    *ret_group = low;
    return 0;
}

int run_chunk_unpack(struct bytes chunk, uint32_t count, uint32_t first, uint32_t group,
                     uint32_t ret_positions[RUN_GROUP_COUNT], uint32_t *ret_count)
{
    size_t heads = groups_before(count) * GROUP_HEAD_SIZE;
    if (count == 0 || group > groups_before(count) || chunk.size < heads)
        return -EBADMSG;
    size_t offset = group == 0 ? 0 : bytes_get_u16(chunk.data + (size_t)(group - 1) * GROUP_HEAD_SIZE + 4);
    struct bytes rest = bytes_slice(chunk, heads + offset, chunk.size);
    uint32_t size = count - group * RUN_GROUP_COUNT, position = group_first(chunk, first, group);
    if (size > RUN_GROUP_COUNT)
        size = RUN_GROUP_COUNT;
    ret_positions[0] = position;
    for (uint32_t i = 1; i < size; i++) {
        uint32_t delta;
        int r = get_u32(&rest, &delta);
        if (r < 0 || delta == 0 || delta > UINT32_MAX - position)
            return -EBADMSG;
        position += delta;
        ret_positions[i] = position;
    }
    *ret_count = size;
    return 0;
}
