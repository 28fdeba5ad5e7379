#include "replica/wire.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/crc32c.h"
#include "base/vector.h"
#include "replica/wire_format.h"

/* --- sending ------------------------------------------------------------------------------------------------------------- */

/* A fill stops before the block that would make it longer than this, and a block stops after the append that does. */
#define FILL_SIZE ((size_t)256 * 1024)

struct wire_sender {
    struct journal *journal;
    struct log_reader *reader;
    struct log_chain chain; /* after `position` */
    uint64_t position;      /* sent up to here */
    bool said_hello;
    bool ahead; /* the follower has more than this journal: there is nothing to send */
};

int wire_sender_new(struct journal *journal, uint64_t after, struct wire_sender **ret_sender)
{
    struct wire_sender *sender = calloc(1, sizeof(*sender));
    if (!sender)
        return -ENOMEM;
    sender->journal = journal;
    sender->position = after;
    int r = journal_chain_at(journal, after, &sender->chain);
    sender->ahead = r == JOURNAL_E_END;
    if (r == 0)
        r = journal_log_reader(journal, after, &sender->reader);
    if (r != 0 && !sender->ahead) {
        wire_sender_free(sender);
        return r > 0 ? -EIO : r;
    }
    *ret_sender = sender;
    return 0;
}

void wire_sender_free(struct wire_sender *sender)
{
    if (!sender)
        return;
    log_reader_free(sender->reader);
    free(sender);
}

uint64_t wire_sender_position(const struct wire_sender *sender)
{
    return sender->ahead ? 0 : sender->position;
}

static int write_hello(struct wire_sender *sender, struct buffer *out)
{
    uint8_t *hello;
    struct journal_id id = journal_id(sender->journal);
    int r = buffer_extend(out, WIRE_HELLO_SIZE, &hello);
    if (r < 0)
        return r;
    memset(hello, 0, WIRE_HELLO_SIZE);
    memcpy(hello + HELLO_MAGIC, wire_magic, sizeof(wire_magic));
    bytes_put_u32(hello + HELLO_FORMAT, WIRE_FORMAT);
    memcpy(hello + HELLO_JOURNAL, id.bytes, sizeof(id.bytes));
    bytes_put_u64(hello + HELLO_AFTER, sender->position);
    bytes_put_u64(hello + HELLO_HEAD, journal_head(sender->journal));
    memcpy(hello + HELLO_CHAIN, sender->chain.bytes, sizeof(sender->chain.bytes));
    bytes_put_u32(hello + HELLO_CHECK, crc32c(bytes_make(hello, HELLO_CHECK)));
    sender->said_hello = true;
    return 0;
}

static int write_record(const struct log_record *record, struct buffer *out)
{
    bool stub = record->flags & LOG_RECORD_STUB;
    struct bytes body = stub ? bytes_make(record->body_hash, sizeof(record->body_hash)) : record->body;
    uint8_t *fields;
    int r = buffer_extend(out, WIRE_RECORD_SIZE, &fields);
    if (r < 0)
        return r;
    bytes_put_u32(fields + RECORD_HEAD_SIZE, (uint32_t)record->head.size);
    bytes_put_u32(fields + RECORD_BODY_SIZE, stub ? record->body_size : (uint32_t)record->body.size);
    bytes_put_u32(fields + RECORD_FLAGS, record->flags);
    bytes_put_u32(fields + RECORD_RESERVED, 0);
    bytes_put_u64(fields + RECORD_EPOCH, record->epoch);
    memcpy(fields + RECORD_SALT, record->salt, sizeof(record->salt));
    r = buffer_append_bytes(out, record->head);
    return r < 0 ? r : buffer_append_bytes(out, body);
}

/* Fill in the block's header in front of the body that has been written behind it. */
static void seal(struct wire_sender *sender, struct buffer *out, size_t start, uint64_t first, uint32_t count)
{
    uint8_t *block = out->data + start;
    struct bytes body = bytes_make(block + WIRE_BLOCK_SIZE, out->size - start - WIRE_BLOCK_SIZE);
    assert(body.size <= WIRE_BLOCK_SIZE_MAX);
    memset(block, 0, WIRE_BLOCK_SIZE);
    memcpy(block + BLOCK_MAGIC, wire_block_magic, sizeof(wire_block_magic));
    bytes_put_u32(block + BLOCK_BODY_SIZE, (uint32_t)body.size);
    bytes_put_u64(block + BLOCK_FIRST, first);
    bytes_put_u64(block + BLOCK_HEAD, journal_head(sender->journal));
    bytes_put_u32(block + BLOCK_COUNT, count);
    bytes_put_u32(block + BLOCK_BODY_CHECK, crc32c(body));
    if (count > 0)
        memcpy(block + BLOCK_CHAIN, sender->chain.bytes, sizeof(sender->chain.bytes));
    bytes_put_u32(block + BLOCK_CHECK, crc32c(bytes_make(block, BLOCK_CHECK)));
}

/* Whole appends until there are no more or the block is large enough. */
static int write_records(struct wire_sender *sender, struct buffer *out, size_t start, uint32_t *ret_count)
{
    bool whole = true;
    while (!whole || (out->size - start < FILL_SIZE && *ret_count < JOURNAL_EVENT_COUNT_MAX)) {
        struct log_record record;
        if (whole && sender->position >= journal_head(sender->journal))
            /* The log may read on; nobody else is to see that yet (P3). Where damage ends it, that is no end (P6). */
            return journal_is_incomplete(sender->journal) && *ret_count == 0 ? -EBADMSG : 0;
        int r = log_reader_next(sender->reader, &record);
        if (r == LOG_E_END && whole)
            return 0;
        if (r == 0)
            r = write_record(&record, out);
        if (r != 0)
            return r > 0 ? -EBADMSG : r; /* an append ends before the log does */
        log_chain_step(&sender->chain, &record, &sender->chain);
        sender->position = record.position;
        ++*ret_count;
        whole = journal_record_ends_append(&record);
    }
    return 0;
}

int wire_sender_fill(struct wire_sender *sender, struct buffer *out)
{
    if (!sender->said_hello)
        return write_hello(sender, out);
    if (sender->ahead)
        return WIRE_E_MORE;
    size_t start = out->size;
    uint64_t first = sender->position + 1;
    uint32_t count = 0;
    uint8_t *block;
    int r = buffer_extend(out, WIRE_BLOCK_SIZE, &block);
    if (r == 0)
        r = write_records(sender, out, start, &count);
    if (r == 0 && count > 0) {
        seal(sender, out, start, first, count);
        return 0;
    }
    out->size = start;
    return r < 0 ? r : WIRE_E_MORE;
}

int wire_sender_beat(struct wire_sender *sender, struct buffer *out)
{
    uint8_t *block;
    size_t start = out->size;
    int r = sender->said_hello ? 0 : write_hello(sender, out);
    if (r == 0 && start == out->size)
        r = buffer_extend(out, WIRE_BLOCK_SIZE, &block);
    if (r == 0 && out->size - start == WIRE_BLOCK_SIZE)
        seal(sender, out, start, sender->position + 1, 0);
    return r;
}

/* --- receiving ------------------------------------------------------------------------------------------------------------- */

struct wire_decoder {
    struct buffer input;
    size_t used; /* bytes of input that belong to messages given out */
    bool said_hello;
    uint64_t position; /* the last one received */
    int answer;        /* once wrong, for ever */
    struct log_record *records;
    size_t record_capacity;
    char error[128];
};

int wire_decoder_new(struct wire_decoder **ret_decoder)
{
    struct wire_decoder *decoder = calloc(1, sizeof(*decoder));
    if (!decoder)
        return -ENOMEM;
    *ret_decoder = decoder;
    return 0;
}

void wire_decoder_free(struct wire_decoder *decoder)
{
    if (!decoder)
        return;
    buffer_deinit(&decoder->input);
    free(decoder->records);
    free(decoder);
}

const char *wire_decoder_error(const struct wire_decoder *decoder)
{
    return decoder->error;
}

int wire_decoder_feed(struct wire_decoder *decoder, struct bytes bytes)
{
    if (decoder->used > 0) {
        memmove(decoder->input.data, decoder->input.data + decoder->used,
                decoder->input.size - decoder->used);
        decoder->input.size -= decoder->used;
        decoder->used = 0;
    }
    return buffer_append_bytes(&decoder->input, bytes);
}

_printf_(3, 4) static int refuse(struct wire_decoder *decoder, int answer, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(decoder->error, sizeof(decoder->error), format, arguments);
    va_end(arguments);
    return answer;
}

static int read_hello(struct wire_decoder *decoder, struct bytes input, struct wire_message *message)
{
    const uint8_t *hello = input.data;
    if (input.size < WIRE_HELLO_SIZE)
        return WIRE_E_MORE;
    if (memcmp(hello + HELLO_MAGIC, wire_magic, sizeof(wire_magic)) != 0)
        return refuse(decoder, WIRE_E_INVALID, "this is no log");
    if (bytes_get_u32(hello + HELLO_FORMAT) > WIRE_FORMAT)
        return refuse(decoder, WIRE_E_NEWER, "the leader speaks format %u, this daybook %u",
                      bytes_get_u32(hello + HELLO_FORMAT), WIRE_FORMAT);
    if (bytes_get_u32(hello + HELLO_FORMAT) != WIRE_FORMAT ||
        bytes_get_u32(hello + HELLO_CHECK) != crc32c(bytes_make(hello, HELLO_CHECK)))
        return refuse(decoder, WIRE_E_INVALID, "the hello's checksum differs");
    *message = (struct wire_message){.kind = WIRE_HELLO,
                                     .head = bytes_get_u64(hello + HELLO_HEAD),
                                     .after = bytes_get_u64(hello + HELLO_AFTER)};
    memcpy(message->journal.bytes, hello + HELLO_JOURNAL, sizeof(message->journal.bytes));
    memcpy(message->chain.bytes, hello + HELLO_CHAIN, sizeof(message->chain.bytes));
    decoder->said_hello = true;
    decoder->position = message->after;
    decoder->used += WIRE_HELLO_SIZE;
    return 0;
}

/* The record at the start of `rest`, which is cut by it. */
static int read_record(struct wire_decoder *decoder, struct bytes *rest, uint64_t position,
                       struct log_record *record)
{
    if (rest->size < WIRE_RECORD_SIZE)
        return refuse(decoder, WIRE_E_INVALID, "a block ends inside a record");
    const uint8_t *fields = rest->data;
    *record = (struct log_record){
        .position = position,
        .epoch = bytes_get_u64(fields + RECORD_EPOCH),
        .flags = bytes_get_u32(fields + RECORD_FLAGS),
        .body_size = bytes_get_u32(fields + RECORD_BODY_SIZE),
    };
    bool stub = record->flags & LOG_RECORD_STUB;
    size_t head_size = bytes_get_u32(fields + RECORD_HEAD_SIZE),
           body_size = stub ? LOG_CHAIN_SIZE : record->body_size;
    if ((record->flags & ~(uint32_t)LOG_RECORD_STUB) != 0 || bytes_get_u32(fields + RECORD_RESERVED) != 0)
        return refuse(decoder, WIRE_E_INVALID, "a record has flags that mean nothing");
    *rest = bytes_slice(*rest, WIRE_RECORD_SIZE, rest->size);
    if (head_size > rest->size || body_size > rest->size - head_size)
        return refuse(decoder, WIRE_E_INVALID, "a record is larger than its block");
    memcpy(record->salt, fields + RECORD_SALT, sizeof(record->salt));
    record->head = bytes_slice(*rest, 0, head_size);
    if (stub)
        memcpy(record->body_hash, rest->data + head_size, LOG_CHAIN_SIZE);
    else
        record->body = bytes_slice(*rest, head_size, body_size);
    *rest = bytes_slice(*rest, head_size + body_size, rest->size);
    return 0;
}

static int read_records(struct wire_decoder *decoder, struct bytes body, struct wire_message *message)
{
    if (vector_reserve(&decoder->records, &decoder->record_capacity, message->count) < 0)
        return -ENOMEM;
    for (size_t i = 0; i < message->count; i++) {
        int r = read_record(decoder, &body, decoder->position + 1 + i, &decoder->records[i]);
        if (r != 0)
            return r;
    }
    if (body.size > 0)
        return refuse(decoder, WIRE_E_INVALID, "a block holds more than its records");
    if (!journal_record_ends_append(&decoder->records[message->count - 1]))
        return refuse(decoder, WIRE_E_INVALID, "a block ends inside an append");
    message->records = decoder->records;
    decoder->position += message->count;
    return 0;
}

static int check_block(struct wire_decoder *decoder, const uint8_t *block, uint32_t body_size, uint32_t count)
{
    if (memcmp(block + BLOCK_MAGIC, wire_block_magic, sizeof(wire_block_magic)) != 0 ||
        bytes_get_u32(block + BLOCK_CHECK) != crc32c(bytes_make(block, BLOCK_CHECK)))
        return refuse(decoder, WIRE_E_INVALID, "a block's header is damaged");
    if (body_size > WIRE_BLOCK_SIZE_MAX || count > WIRE_BLOCK_COUNT_MAX || (count == 0 && body_size > 0))
        return refuse(decoder, WIRE_E_INVALID, "a block is larger than allowed");
    if (bytes_get_u64(block + BLOCK_FIRST) != decoder->position + 1 || decoder->position > UINT64_MAX / 2)
        return refuse(decoder, WIRE_E_INVALID, "a block does not follow the one before it");
    return 0;
}

static int read_block(struct wire_decoder *decoder, struct bytes input, struct wire_message *message)
{
    const uint8_t *block = input.data;
    if (input.size < WIRE_BLOCK_SIZE)
        return WIRE_E_MORE;
    uint32_t body_size = bytes_get_u32(block + BLOCK_BODY_SIZE), count = bytes_get_u32(block + BLOCK_COUNT);
    int r = check_block(decoder, block, body_size, count);
    if (r != 0)
        return r;
    if (input.size - WIRE_BLOCK_SIZE < body_size)
        return WIRE_E_MORE;
    struct bytes body = bytes_slice(input, WIRE_BLOCK_SIZE, body_size);
    if (bytes_get_u32(block + BLOCK_BODY_CHECK) != crc32c(body))
        return refuse(decoder, WIRE_E_INVALID, "a block's checksum differs");
    *message = (struct wire_message){.kind = count > 0 ? WIRE_RECORDS : WIRE_HEARTBEAT,
                                     .head = bytes_get_u64(block + BLOCK_HEAD),
                                     .count = count};
    memcpy(message->chain.bytes, block + BLOCK_CHAIN, sizeof(message->chain.bytes));
    r = count > 0 ? read_records(decoder, body, message) : 0;
    if (r == 0)
        decoder->used += WIRE_BLOCK_SIZE + body_size;
    return r;
}

int wire_decoder_next(struct wire_decoder *decoder, struct wire_message *ret_message)
{
    if (decoder->answer != 0)
        return decoder->answer;
    struct bytes input = bytes_slice(buffer_bytes(&decoder->input), decoder->used, decoder->input.size);
    struct wire_message message;
    int r = decoder->said_hello ? read_block(decoder, input, &message) : read_hello(decoder, input, &message);
    if (r == 0)
        *ret_message = message;
    else if (r == WIRE_E_INVALID || r == WIRE_E_NEWER)
        decoder->answer = r;
    return r;
}
