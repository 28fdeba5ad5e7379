#include "log/file_log_format.h"

#include <assert.h>

#include "base/crc32c.h"

static_assert(FORMAT_FRAME_SIZE % FORMAT_ALIGN == 0 && FORMAT_SEGMENT_SIZE % FORMAT_ALIGN == 0 &&
                  FORMAT_RECORD_SIZE % FORMAT_ALIGN == 0,
              "frames and records stay aligned");
static_assert(FORMAT_RECORD_SIZE + FORMAT_PAYLOAD_MIN + FORMAT_ALIGN <= LOG_RECORD_SIZE_EXTRA,
              "what the seam counts for a record covers what the file adds to it");
static_assert((int)FORMAT_PAYLOAD_EXTRA == LOG_SALT_SIZE && (int)FORMAT_PAYLOAD_MIN == LOG_CHAIN_SIZE,
              "salt, or hash");

static const char head_magic[8] = "daybook";
static const char segment_magic[4] = {'D', 'S', 'E', 'G'};
static const char page_magic[4] = {'D', 'P', 'A', 'G'};
static const char frame_magic[4] = {'D', 'F', 'R', 'M'};

uint32_t format_seed(const uint8_t key[FORMAT_KEY_SIZE])
{
    return crc32c(bytes_make(key, FORMAT_KEY_SIZE));
}

static uint32_t checksum(uint32_t seed, const uint8_t *data, size_t size)
{
    return crc32c_extend(seed, bytes_make(data, size));
}

static bool all_zero(const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (data[i] != 0)
            return false;
    }
    return true;
}

/* ---- log.head ---- */

void format_put_head(const struct format_head *head, uint8_t ret_data[FORMAT_HEAD_SIZE])
{
    memset(ret_data, 0, FORMAT_HEAD_SIZE);
    memcpy(ret_data, head_magic, sizeof(head_magic));
    bytes_put_u32(ret_data + 8, FORMAT_VERSION);
    bytes_put_u32(ret_data + 12, head->flags);
    memcpy(ret_data + 16, head->id, LOG_ID_SIZE);
    memcpy(ret_data + 32, head->key, FORMAT_KEY_SIZE);
    bytes_put_u64(ret_data + 48, (uint64_t)head->created_us);
    bytes_put_u32(ret_data + 60, checksum(0, ret_data, 60));
}

/* In every format the check of the first 60 bytes stands behind them, so that a damaged number is not taken for a newer
 * one. */
int format_get_head(struct bytes data, struct format_head *ret_head)
{
    struct format_head head;
    uint32_t format;

    if (data.size < FORMAT_HEAD_SIZE || memcmp(data.data, head_magic, sizeof(head_magic)) != 0 ||
        bytes_get_u32(data.data + 60) != checksum(0, data.data, 60))
        return FORMAT_E_INVALID;
    format = bytes_get_u32(data.data + 8);
    if (format > FORMAT_VERSION)
        return FORMAT_E_NEWER;
    if (format != FORMAT_VERSION || data.size != FORMAT_HEAD_SIZE)
        return FORMAT_E_INVALID;
    head.flags = bytes_get_u32(data.data + 12);
    if (head.flags & ~(uint32_t)FORMAT_HEAD_COPY || bytes_get_u32(data.data + 56) != 0)
        return FORMAT_E_INVALID;
    memcpy(head.id, data.data + 16, LOG_ID_SIZE);
    memcpy(head.key, data.data + 32, FORMAT_KEY_SIZE);
    head.created_us = (int64_t)bytes_get_u64(data.data + 48);
    *ret_head = head;
    return 0;
}

/* ---- durable.page ---- */

void format_put_page(const struct format_page *page, uint32_t seed, uint8_t ret_data[FORMAT_PAGE_SIZE])
{
    memset(ret_data, 0, FORMAT_PAGE_SIZE);
    memcpy(ret_data, page_magic, sizeof(page_magic));
    bytes_put_u32(ret_data + 4, FORMAT_VERSION);
    memcpy(ret_data + 8, page->boot, FORMAT_BOOT_SIZE);
    memcpy(ret_data + 24, page->id, LOG_ID_SIZE);
    bytes_put_u64(ret_data + 40, page->epoch);
    bytes_put_u64(ret_data + 48, page->durable);
    bytes_put_u32(ret_data + 60, checksum(seed, ret_data, 60));
}

int format_get_page(struct bytes data, uint32_t seed, struct format_page *ret_page)
{
    struct format_page page;
    uint32_t format;

    if (data.size != FORMAT_PAGE_SIZE || memcmp(data.data, page_magic, sizeof(page_magic)) != 0 ||
        bytes_get_u32(data.data + 60) != checksum(seed, data.data, 60))
        return FORMAT_E_INVALID;
    format = bytes_get_u32(data.data + 4);
    if (format > FORMAT_VERSION)
        return FORMAT_E_NEWER;
    if (format != FORMAT_VERSION || bytes_get_u32(data.data + 56) != 0)
        return FORMAT_E_INVALID;
    memcpy(page.boot, data.data + 8, FORMAT_BOOT_SIZE);
    memcpy(page.id, data.data + 24, LOG_ID_SIZE);
    page.epoch = bytes_get_u64(data.data + 40);
    page.durable = bytes_get_u64(data.data + 48);
    *ret_page = page;
    return 0;
}

/* ---- segment header ---- */

void format_put_segment(const struct format_segment *segment, uint32_t seed,
                        uint8_t ret_data[FORMAT_SEGMENT_SIZE])
{
    memset(ret_data, 0, FORMAT_SEGMENT_SIZE);
    memcpy(ret_data, segment_magic, sizeof(segment_magic));
    bytes_put_u32(ret_data + 4, FORMAT_VERSION);
    bytes_put_u64(ret_data + 8, segment->first);
    bytes_put_u64(ret_data + 16, segment->epoch);
    bytes_put_u64(ret_data + 24, segment->previous_first);
    bytes_put_u64(ret_data + 32, segment->previous_size);
    memcpy(ret_data + 40, segment->chain.bytes, LOG_CHAIN_SIZE);
    bytes_put_u32(ret_data + 76, checksum(seed, ret_data, 76));
}

int format_get_segment(struct bytes data, uint32_t seed, struct format_segment *ret_segment)
{
    struct format_segment segment;
    uint32_t format;

    if (data.size < FORMAT_SEGMENT_SIZE || memcmp(data.data, segment_magic, sizeof(segment_magic)) != 0 ||
        bytes_get_u32(data.data + 76) != checksum(seed, data.data, 76))
        return FORMAT_E_INVALID;
    format = bytes_get_u32(data.data + 4);
    if (format != FORMAT_VERSION)
        return format > FORMAT_VERSION ? FORMAT_E_NEWER : FORMAT_E_INVALID;
    if (bytes_get_u32(data.data + 72) != 0)
        return FORMAT_E_INVALID;
    segment.first = bytes_get_u64(data.data + 8);
    segment.epoch = bytes_get_u64(data.data + 16);
    segment.previous_first = bytes_get_u64(data.data + 24);
    segment.previous_size = bytes_get_u64(data.data + 32);
    memcpy(segment.chain.bytes, data.data + 40, LOG_CHAIN_SIZE);
    if (segment.first == 0)
        return FORMAT_E_INVALID;
    *ret_segment = segment;
    return 0;
}

/* ---- frame ---- */

void format_put_frame(const struct format_frame *frame, uint32_t seed, uint8_t *data)
{
    memset(data, 0, FORMAT_FRAME_SIZE);
    memcpy(data, frame_magic, sizeof(frame_magic));
    bytes_put_u16(data + 4, FORMAT_VERSION);
    bytes_put_u16(data + 6, (uint16_t)frame->kind);
    bytes_put_u32(data + 8, frame->body_size);
    bytes_put_u32(data + 12, frame->count);
    bytes_put_u64(data + 16, frame->first);
    bytes_put_u64(data + 24, frame->floor);
    bytes_put_u64(data + 32, frame->epoch);
    memcpy(data + 40, frame->chain.bytes, LOG_CHAIN_SIZE);
    bytes_put_u32(data + 72, checksum(seed, data + FORMAT_FRAME_SIZE, frame->body_size));
    bytes_put_u32(data + 76, checksum(seed, data, 76));
}

bool format_is_frame(const uint8_t data[4])
{
    return memcmp(data, frame_magic, sizeof(frame_magic)) == 0;
}

static bool frame_rules_hold(const struct format_frame *frame)
{
    if (frame->first == 0 || frame->floor >= frame->first || frame->first > UINT64_MAX - LOG_APPEND_COUNT_MAX)
        return false;
    if (frame->kind == FORMAT_FLOOR)
        return frame->body_size == 0 && frame->count == 0;
    return frame->kind == FORMAT_RECORDS && frame->body_size % FORMAT_ALIGN == 0 &&
           frame->body_size <= FORMAT_FRAME_BODY_MAX && frame->count >= 1 &&
           frame->count <= LOG_APPEND_COUNT_MAX;
}

int format_get_frame(const uint8_t *data, uint32_t seed, struct format_frame *ret_frame)
{
    struct format_frame frame;

    if (memcmp(data, frame_magic, sizeof(frame_magic)) != 0)
        return FORMAT_E_INVALID;
    if (bytes_get_u32(data + 76) != checksum(seed, data, 76))
        return FORMAT_E_INVALID;
    if (bytes_get_u16(data + 4) != FORMAT_VERSION)
        return bytes_get_u16(data + 4) > FORMAT_VERSION ? FORMAT_E_NEWER : FORMAT_E_INVALID;
    frame.kind = (enum format_kind)bytes_get_u16(data + 6);
    frame.body_size = bytes_get_u32(data + 8);
    frame.count = bytes_get_u32(data + 12);
    frame.first = bytes_get_u64(data + 16);
    frame.floor = bytes_get_u64(data + 24);
    frame.epoch = bytes_get_u64(data + 32);
    memcpy(frame.chain.bytes, data + 40, LOG_CHAIN_SIZE);
    if (!frame_rules_hold(&frame))
        return FORMAT_E_INVALID;
    *ret_frame = frame;
    return 0;
}

/* ---- record ---- */

static size_t payload_size(uint32_t body_size)
{
    size_t size = FORMAT_PAYLOAD_EXTRA + (size_t)body_size;

    return size < FORMAT_PAYLOAD_MIN ? FORMAT_PAYLOAD_MIN : size;
}

static size_t record_size(size_t head_size, uint32_t body_size)
{
    size_t size = FORMAT_RECORD_SIZE + head_size + payload_size(body_size);

    return (size + FORMAT_ALIGN - 1) / FORMAT_ALIGN * FORMAT_ALIGN;
}

static uint32_t body_size_of(const struct log_record *record)
{
    return record->flags & LOG_RECORD_STUB ? record->body_size : (uint32_t)record->body.size;
}

size_t format_record_size(const struct log_record *record)
{
    return record_size(record->head.size, body_size_of(record));
}

uint8_t *format_put_record(const struct log_record *record, uint8_t *data)
{
    size_t size = format_record_size(record);
    uint8_t *payload = data + FORMAT_RECORD_SIZE + record->head.size;

    bytes_put_u32(data, (uint32_t)record->head.size);
    bytes_put_u32(data + 4, body_size_of(record));
    bytes_put_u32(data + 8, record->flags);
    bytes_put_u32(data + 12, 0);
    bytes_put_u64(data + 16, record->epoch);
    if (record->head.size > 0)
        memcpy(data + FORMAT_RECORD_SIZE, record->head.data, record->head.size);
    memset(payload, 0, (size_t)(data + size - payload));
    if (record->flags & LOG_RECORD_STUB) {
        memcpy(payload, record->body_hash, LOG_CHAIN_SIZE);
    } else {
        memcpy(payload, record->salt, LOG_SALT_SIZE);
        if (record->body.size > 0)
            memcpy(payload + LOG_SALT_SIZE, record->body.data, record->body.size);
    }
    return data + size;
}

void format_make_stub(uint8_t *data, const uint8_t body_hash[LOG_CHAIN_SIZE])
{
    size_t head_size = bytes_get_u32(data), size = record_size(head_size, bytes_get_u32(data + 4));
    size_t payload = FORMAT_RECORD_SIZE + head_size;

    bytes_put_u32(data + 8, bytes_get_u32(data + 8) | LOG_RECORD_STUB);
    memset(data + payload, 0, size - payload);
    memcpy(data + payload, body_hash, LOG_CHAIN_SIZE);
}

/* What the fixed part of a record says of its extent, and what it may not say. */
struct extent {
    size_t head_size, size; /* the whole record, padding and all */
    uint32_t body_size, flags;
};

static bool get_extent(struct bytes body, struct extent *ret_extent)
{
    struct extent extent;

    if (body.size < FORMAT_RECORD_SIZE)
        return false;
    extent.head_size = bytes_get_u32(body.data);
    extent.body_size = bytes_get_u32(body.data + 4);
    extent.flags = bytes_get_u32(body.data + 8);
    extent.size = record_size(extent.head_size, extent.body_size);
    *ret_extent = extent;
    return !(extent.flags & ~(uint32_t)LOG_RECORD_STUB) && bytes_get_u32(body.data + 12) == 0 &&
           extent.size <= body.size;
}

/* Behind a body the record is filled up with zeros; a stub's hash has all the room there was. */
static bool padding_holds(const uint8_t *data, const struct extent *extent)
{
    size_t used = FORMAT_RECORD_SIZE + extent->head_size + FORMAT_PAYLOAD_EXTRA + extent->body_size;

    return extent->flags & LOG_RECORD_STUB || used >= extent->size || all_zero(data + used, extent->size - used);
}

bool format_check_body(const struct format_frame *frame, const uint8_t *data, uint32_t seed)
{
    struct bytes body = bytes_make(data + FORMAT_FRAME_SIZE, frame->body_size);
    struct extent extent;

    if (bytes_get_u32(data + 72) != checksum(seed, body.data, body.size))
        return false;
    for (uint32_t i = 0; i < frame->count; i++) {
        if (!get_extent(body, &extent) || !padding_holds(body.data, &extent))
            return false;
        body = bytes_make(body.data + extent.size, body.size - extent.size);
    }
    return body.size == 0;
}

/* Salt, body and hash: a stub has the last, any other record the first two. */
static void get_payload(const uint8_t *payload, struct log_record *record)
{
    if (record->flags & LOG_RECORD_STUB) {
        memset(record->salt, 0, LOG_SALT_SIZE);
        memcpy(record->body_hash, payload, LOG_CHAIN_SIZE);
        record->body = (struct bytes){0};
    } else {
        memcpy(record->salt, payload, LOG_SALT_SIZE);
        memset(record->body_hash, 0, LOG_CHAIN_SIZE);
        record->body = bytes_make(payload + LOG_SALT_SIZE, record->body_size);
    }
}

/* Sets every field by itself: for a reader this is most of what a record costs, and clearing it first would double that. */
void format_take_record(struct bytes *body, uint64_t position, struct log_record *ret_record)
{
    const uint8_t *data = body->data;
    struct extent extent;
    bool holds = get_extent(*body, &extent);

    assert(holds); /* the caller has had it checked */
    ret_record->position = position;
    ret_record->epoch = bytes_get_u64(data + 16);
    ret_record->flags = extent.flags;
    ret_record->body_size = extent.body_size;
    ret_record->head = bytes_make(data + FORMAT_RECORD_SIZE, extent.head_size);
    ret_record->hashed = false;
    get_payload(data + FORMAT_RECORD_SIZE + extent.head_size, ret_record);
    *body = bytes_make(data + extent.size, body->size - extent.size);
}
