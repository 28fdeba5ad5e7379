/* The bytes of docs/formats/log.md: encoding, and decoding with every rule checked. No I/O. */
#pragma once

#include "log/file_log.h"

enum {
    FORMAT_VERSION = 1,
    FORMAT_HEAD_SIZE = 64,
    FORMAT_SEGMENT_SIZE = 80,
    FORMAT_FRAME_SIZE = 80,
    FORMAT_PAGE_SIZE = 64,
    FORMAT_RECORD_SIZE = 24,   /* the fixed part */
    FORMAT_PAYLOAD_EXTRA = 16, /* salt */
    FORMAT_PAYLOAD_MIN = 32,   /* room for a body hash */
    FORMAT_ALIGN = 8,
    FORMAT_KEY_SIZE = 16,
    FORMAT_BOOT_SIZE = 16,
};

/* Bytes of a frame's body at most: one append, with the little that padding adds. */
#define FORMAT_FRAME_BODY_MAX ((uint32_t)LOG_APPEND_SIZE_MAX)

enum format_head_flags { FORMAT_HEAD_COPY = 1u };

enum format_kind { FORMAT_RECORDS = 1, FORMAT_FLOOR = 2 };

/* Answers of the decoders. */
enum {
    FORMAT_E_INVALID = 1, /* not what it should be */
    FORMAT_E_NEWER = 2,   /* ours, of a later format */
};

struct format_head {
    uint8_t id[LOG_ID_SIZE];
    uint8_t key[FORMAT_KEY_SIZE];
    uint32_t flags;
    int64_t created_us;
};

struct format_segment {
    uint64_t first, epoch, previous_first, previous_size;
    struct log_chain chain;
};

struct format_frame {
    enum format_kind kind;
    uint32_t body_size, count;
    uint64_t first, floor, epoch;
    struct log_chain chain; /* before the first record */
};

/* durable.page */
struct format_page {
    uint8_t boot[FORMAT_BOOT_SIZE];
    uint8_t id[LOG_ID_SIZE];
    uint64_t epoch, durable;
};

/* What a checksum begins with: the log's key. */
uint32_t format_seed(const uint8_t key[FORMAT_KEY_SIZE]);

void format_put_head(const struct format_head *head, uint8_t ret_data[FORMAT_HEAD_SIZE]);
int format_get_head(struct bytes data, struct format_head *ret_head);

void format_put_segment(const struct format_segment *segment, uint32_t seed,
                        uint8_t ret_data[FORMAT_SEGMENT_SIZE]);
int format_get_segment(struct bytes data, uint32_t seed, struct format_segment *ret_segment);

void format_put_page(const struct format_page *page, uint32_t seed, uint8_t ret_data[FORMAT_PAGE_SIZE]);
int format_get_page(struct bytes data, uint32_t seed, struct format_page *ret_page);

/* The frame's header, in front of its body, which must lie behind it already. */
void format_put_frame(const struct format_frame *frame, uint32_t seed, uint8_t *data);
/* Reads the header alone; data has at least FORMAT_FRAME_SIZE bytes. */
int format_get_frame(const uint8_t *data, uint32_t seed, struct format_frame *ret_frame);
/* Whether these four bytes could begin a frame: for searching. */
bool format_is_frame(const uint8_t data[4]);
/* Whether the body is the one the header was written for, and holds `count` records. */
bool format_check_body(const struct format_frame *frame, const uint8_t *data, uint32_t seed);

/* Bytes a record takes in a frame. */
size_t format_record_size(const struct log_record *record);
/* Writes a record into format_record_size() bytes; answers the place behind it. */
uint8_t *format_put_record(const struct log_record *record, uint8_t *data);
/* Turns the record that stands at `data` into its stub, in place. */
void format_make_stub(uint8_t *data, const uint8_t body_hash[LOG_CHAIN_SIZE]);
/* Reads the record that `body` begins with, the one at `position`, and cuts it off. The body is a frame's, or the rest of
 * one, and format_check_body() has found it good. */
void format_take_record(struct bytes *body, uint64_t position, struct log_record *ret_record);

static inline uint64_t format_frame_end(const struct format_frame *frame)
{
    return FORMAT_FRAME_SIZE + (uint64_t)frame->body_size;
}

/* The last position in the frame, or before it when it has none. */
static inline uint64_t format_frame_last(const struct format_frame *frame)
{
    return frame->first + frame->count - 1;
}
