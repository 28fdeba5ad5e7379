#include "base/bytes.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/checked.h"

/* The first allocation of a buffer: small enough to waste nothing, large enough for most lines and headers.
 */
#define BUFFER_CAPACITY_FIRST 128

int bytes_compare(struct bytes a, struct bytes b)
{
    size_t common = a.size < b.size ? a.size : b.size;
    int order = common ? memcmp(a.data, b.data, common) : 0;

    if (order != 0)
        return order;
    return (a.size > b.size) - (a.size < b.size);
}

bool bytes_starts_with(struct bytes bytes, struct bytes prefix)
{
    return bytes.size >= prefix.size &&
           (prefix.size == 0 || memcmp(bytes.data, prefix.data, prefix.size) == 0);
}

struct bytes bytes_slice(struct bytes bytes, size_t offset, size_t size)
{
    if (offset > bytes.size)
        offset = bytes.size;
    if (size > bytes.size - offset)
        size = bytes.size - offset;
    return bytes_make(bytes.data ? bytes.data + offset : NULL, size);
}

char *bytes_dup_string(struct bytes bytes)
{
    size_t size;
    char *copy;

    if (!checked_add_size(bytes.size, 1, &size))
        return NULL;
    copy = malloc(size);
    if (!copy)
        return NULL;
    if (bytes.size > 0)
        memcpy(copy, bytes.data, bytes.size);
    copy[bytes.size] = '\0';
    return copy;
}

int bytes_parse_u64(struct bytes text, uint64_t *ret_value)
{
    uint64_t value = 0;

    if (text.size == 0)
        return BYTES_E_NOT_NUMBER;
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return BYTES_E_NOT_NUMBER;
    }
    for (size_t i = 0; i < text.size; i++) {
        if (!checked_mul_u64(value, 10, &value) || !checked_add_u64(value, text.data[i] - '0', &value))
            return BYTES_E_RANGE;
    }
    *ret_value = value;
    return 0;
}

/* Two digits a division: every answer holds positions and versions, and printf() takes ten times as long. */
size_t bytes_format_u64(uint64_t value, char ret_text[BYTES_U64_TEXT_SIZE])
{
    char text[BYTES_U64_TEXT_SIZE];
    size_t at = sizeof(text);

    do {
        unsigned pair = (unsigned)(value % 100);
        value /= 100;
        text[--at] = (char)('0' + pair % 10);
        if (value > 0 || pair >= 10)
            text[--at] = (char)('0' + pair / 10);
    } while (value > 0);
    memcpy(ret_text, text + at, sizeof(text) - at);
    return sizeof(text) - at;
}

int buffer_append_i64(struct buffer *buffer, int64_t number)
{
    char text[1 + BYTES_U64_TEXT_SIZE];
    uint64_t magnitude = number < 0 ? -(uint64_t)number : (uint64_t)number;

    text[0] = '-';
    return buffer_append(buffer, text + (number >= 0), bytes_format_u64(magnitude, text + 1) + (number < 0));
}

void buffer_init(struct buffer *buffer, size_t size_max)
{
    *buffer = (struct buffer){.size_max = size_max};
}

void buffer_deinit(struct buffer *buffer)
{
    free(buffer->data);
    *buffer = (struct buffer){.size_max = buffer->size_max};
}

void buffer_clear(struct buffer *buffer)
{
    buffer->size = 0;
}

static size_t ceiling_of(const struct buffer *buffer)
{
    return buffer->size_max ? buffer->size_max : BUFFER_SIZE_MAX_DEFAULT;
}

/* There is room already: what nearly every append finds. size <= capacity, so nothing here can wrap. */
static bool has_room(const struct buffer *buffer, size_t size)
{
    return size < buffer->capacity - buffer->size && buffer->size + size <= ceiling_of(buffer);
}

/* One byte is always kept behind the content, for buffer_string(). */
int buffer_reserve(struct buffer *buffer, size_t size)
{
    size_t ceiling = ceiling_of(buffer);
    size_t needed, capacity;
    uint8_t *data;

    if (!checked_add_size(buffer->size, size, &needed) || needed > ceiling)
        return -E2BIG;
    if (!checked_add_size(needed, 1, &needed))
        return -E2BIG;
    if (needed <= buffer->capacity)
        return 0;
    capacity = buffer->capacity ? buffer->capacity : BUFFER_CAPACITY_FIRST;
    while (capacity < needed) {
        if (!checked_mul_size(capacity, 2, &capacity))
            return -E2BIG;
    }
    data = realloc(buffer->data, capacity);
    if (!data)
        return -ENOMEM;
    buffer->data = data;
    buffer->capacity = capacity;
    return 0;
}

int buffer_extend(struct buffer *buffer, size_t size, uint8_t **ret_data)
{
    int r = buffer_reserve(buffer, size);

    if (r < 0)
        return r;
    *ret_data = buffer->data + buffer->size;
    buffer->size += size;
    assert(buffer->size < buffer->capacity);
    return 0;
}

int buffer_append(struct buffer *buffer, const void *data, size_t size)
{
    int r = has_room(buffer, size) ? 0 : buffer_reserve(buffer, size);

    if (r < 0)
        return r;
    if (size > 0)
        memcpy(buffer->data + buffer->size, data, size);
    buffer->size += size;
    return 0;
}

int buffer_append_bytes(struct buffer *buffer, struct bytes bytes)
{
    return buffer_append(buffer, bytes.data, bytes.size);
}

int buffer_append_byte(struct buffer *buffer, uint8_t byte)
{
    return buffer_append(buffer, &byte, 1);
}

int buffer_append_string(struct buffer *buffer, const char *string)
{
    return buffer_append(buffer, string, strlen(string));
}

int buffer_printf(struct buffer *buffer, const char *format, ...)
{
    size_t room = buffer->capacity - buffer->size;
    va_list arguments;
    int size, r;

    va_start(arguments, format);
    size = vsnprintf(room > 0 ? (char *)buffer->data + buffer->size : NULL, room, format, arguments);
    va_end(arguments);
    if (size < 0)
        return -EINVAL;
    if (!has_room(buffer, (size_t)size)) {
        r = buffer_reserve(buffer, (size_t)size);
        if (r < 0)
            return r;
        va_start(arguments, format);
        (void)vsnprintf((char *)buffer->data + buffer->size, (size_t)size + 1, format, arguments);
        va_end(arguments);
    }
    buffer->size += (size_t)size;
    return 0;
}

const char *buffer_string(struct buffer *buffer)
{
    if (buffer_reserve(buffer, 0) < 0)
        return NULL;
    buffer->data[buffer->size] = '\0';
    return (const char *)buffer->data;
}
