/* Whatever the network brings, in whatever pieces, the decoder gives out whole appends or refuses once and for ever. The
 * first byte is the size of the pieces. What passes its checksums only by luck a fuzzer never meets, so they are made right
 * first when the second byte is odd.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "replica/wire.h"
#include "replica/wire_format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void repair(uint8_t *bytes, size_t size)
{
    if (size < WIRE_HELLO_SIZE)
        return;
    bytes_put_u32(bytes + HELLO_CHECK, crc32c(bytes_make(bytes, HELLO_CHECK)));
    for (size_t at = WIRE_HELLO_SIZE; size - at >= WIRE_BLOCK_SIZE;) {
        uint8_t *block = bytes + at;
        size_t body_size = bytes_get_u32(block + BLOCK_BODY_SIZE);
        if (body_size > size - at - WIRE_BLOCK_SIZE)
            body_size = size - at - WIRE_BLOCK_SIZE;
        bytes_put_u32(block + BLOCK_BODY_CHECK, crc32c(bytes_make(block + WIRE_BLOCK_SIZE, body_size)));
        bytes_put_u32(block + BLOCK_CHECK, crc32c(bytes_make(block, BLOCK_CHECK)));
        at += WIRE_BLOCK_SIZE + body_size;
    }
}

/* Every byte that is given out is read, for the sanitizer. */
static unsigned touch(struct bytes bytes)
{
    unsigned sum = 0;
    for (size_t i = 0; i < bytes.size; i++)
        sum += bytes.data[i];
    return sum;
}

static int drain(struct wire_decoder *decoder, uint64_t *position)
{
    struct wire_message message;
    int r;
    volatile unsigned sum = 0;
    while ((r = wire_decoder_next(decoder, &message)) == 0) {
        if (message.kind == WIRE_HELLO)
            *position = message.after;
        for (size_t i = 0; i < message.count; i++) {
            assert(message.records[i].position == ++*position);
            sum += touch(message.records[i].head) + touch(message.records[i].body);
        }
        assert(message.kind != WIRE_RECORDS ||
               journal_record_ends_append(&message.records[message.count - 1]));
    }
    return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wire_decoder *decoder = NULL;
    uint64_t position = 0;
    if (size < 2)
        return 0;
    size_t piece = data[0] + 1u;
    uint8_t *bytes = malloc(size);
    assert(bytes);
    memcpy(bytes, data + 2, size - 2);
    if (data[1] & 1)
        repair(bytes, size - 2);
    int r = wire_decoder_new(&decoder);
    assert(r == 0);
    r = WIRE_E_MORE;
    for (size_t at = 0; at < size - 2 && r == WIRE_E_MORE; at += piece) {
        r = wire_decoder_feed(decoder, bytes_slice(bytes_make(bytes, size - 2), at, piece));
        assert(r == 0);
        r = drain(decoder, &position);
    }
    assert(r == WIRE_E_MORE || wire_decoder_error(decoder)[0] != '\0');
    assert(drain(decoder, &position) == r);
    wire_decoder_free(decoder);
    free(bytes);
    return 0;
}
