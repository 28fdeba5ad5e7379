/*
 * Whatever bytes a record has, codec_read() answers; and an event it accepts is written as the same bytes.
 * Input: u64 position, u32 flags, u32 size of the head, head, body.
 */
#include <assert.h>
#include <stdlib.h>

#include "journal/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_again(const struct journal_event *event, const struct log_record *record)
{
    bool plain = !event->stub && !event->sealed;
    size_t head_size = codec_head_size(event), body_size = plain ? codec_body_size(event) : 0;
    uint8_t *memory = malloc(head_size + body_size + 1);
    assert(memory);
    codec_write_head(event, memory);
    assert(bytes_equal(bytes_make(memory, head_size), record->head));
    if (plain) {
        codec_write_body(event, memory + head_size);
        assert(bytes_equal(bytes_make(memory + head_size, body_size), record->body));
    }
    free(memory);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct codec_tags tags;
    struct journal_event event;
    if (size < 16)
        return 0;
    struct bytes rest = bytes_make(data + 16, size - 16);
    struct log_record record = {.position = bytes_get_u64(data),
                                .flags = bytes_get_u32(data + 8) & LOG_RECORD_STUB,
                                .head = bytes_slice(rest, 0, bytes_get_u32(data + 12))};
    record.body = bytes_slice(rest, record.head.size, SIZE_MAX);
    if (codec_read(&record, &tags, &event, NULL) == 0)
        write_again(&event, &record);
    (void)codec_ends_append(&record);
    event = (struct journal_event){0};
    (void)codec_read_plain(rest, &event);
    return 0;
}
