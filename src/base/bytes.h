#pragma once

/*
 * Bytes: a borrowed span (struct bytes), an owned growing one (struct buffer), and integers in little-endian
 * order.
 *
 * A span does not own what it points at and is passed by value; its data may be NULL only when its size is 0.
 * It need not end in NUL and may contain NULs.
 *
 * A buffer declares its ceiling when it is made, because anything that grows with a client's input must end
 * somewhere: growing past size_max is -E2BIG. {0} is a valid empty buffer with the default ceiling. Spans
 * into a buffer are valid until it next grows.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/error.h"

struct bytes {
    const uint8_t *data;
    size_t size;
};

/* A buffer whose owner named no ceiling stops here. */
#define BUFFER_SIZE_MAX_DEFAULT ((size_t)256 << 20)

struct buffer {
    uint8_t *data;
    size_t size;
    size_t capacity;
    size_t size_max; /* 0 means BUFFER_SIZE_MAX_DEFAULT */
};

/* A span over a string literal, without its NUL; also usable in static initializers. */
#define BYTES_LITERAL(text) ((struct bytes){.data = (const uint8_t *)("" text), .size = sizeof("" text) - 1})

/* For printf: printf("%.*s", BYTES_PRINT(span)). */
#define BYTES_PRINT(span) (int)(span).size, (const char *)((span).data ? (span).data : (const uint8_t *)"")

/* ---- spans ---- */

static inline struct bytes bytes_make(const void *data, size_t size)
{
    return (struct bytes){.data = (const uint8_t *)data, .size = size};
}

/* The bytes of a NUL-terminated string, without the NUL; NULL gives an empty span. */
static inline struct bytes bytes_from_string(const char *string)
{
    return bytes_make(string, string ? strlen(string) : 0);
}

static inline bool bytes_equal(struct bytes a, struct bytes b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

static inline bool bytes_equal_string(struct bytes a, const char *b)
{
    return bytes_equal(a, bytes_from_string(b));
}

/* Less than, equal to or greater than 0 in the order of unsigned bytes; a prefix comes before what it begins.
 */
int bytes_compare(struct bytes a, struct bytes b);

bool bytes_starts_with(struct bytes bytes, struct bytes prefix);

/* The part from offset on, size bytes long; both are cut to what there is. */
struct bytes bytes_slice(struct bytes bytes, size_t offset, size_t size);

/* A NUL-terminated copy from malloc, or NULL when there is no memory. A NUL inside is kept. */
char *bytes_dup_string(struct bytes bytes);

/* Reads a decimal number and nothing else ("+1", " 1" and "" are not numbers). */
enum { BYTES_E_NOT_NUMBER = 1, BYTES_E_RANGE };
_must_check_ int bytes_parse_u64(struct bytes text, uint64_t *ret_value);

/* The decimal digits of a number, without a NUL; returns how many there are. */
enum { BYTES_U64_TEXT_SIZE = 20 };
size_t bytes_format_u64(uint64_t value, char ret_text[BYTES_U64_TEXT_SIZE]);

/* ---- buffers: each returns 0, -ENOMEM or -E2BIG (past the ceiling); on failure it changes nothing ---- */

/* An empty buffer that will not hold more than size_max bytes; 0 means BUFFER_SIZE_MAX_DEFAULT. */
void buffer_init(struct buffer *buffer, size_t size_max);

/* Frees the memory; the buffer is empty and usable again, with its ceiling. Right for _cleanup_. */
void buffer_deinit(struct buffer *buffer);

/* Forgets the content and keeps the memory. */
void buffer_clear(struct buffer *buffer);

/* Makes room for `size` more bytes, so that appending them cannot fail. */
_must_check_ int buffer_reserve(struct buffer *buffer, size_t size);

/* Room for `size` bytes at the end, counted as content, to be filled in by the caller. */
_must_check_ int buffer_extend(struct buffer *buffer, size_t size, uint8_t **ret_data);

_must_check_ int buffer_append(struct buffer *buffer, const void *data, size_t size);
_must_check_ int buffer_append_bytes(struct buffer *buffer, struct bytes bytes);
_must_check_ int buffer_append_byte(struct buffer *buffer, uint8_t byte);
_must_check_ int buffer_append_string(struct buffer *buffer, const char *string);
/* The number in decimal digits; much faster than buffer_printf(). */
_must_check_ int buffer_append_i64(struct buffer *buffer, int64_t number);
_must_check_ _printf_(2, 3) int buffer_printf(struct buffer *buffer, const char *format, ...);

/* The content as a string: a NUL is put behind it, outside its size. NULL when there is no memory for that.
 */
const char *buffer_string(struct buffer *buffer);

static inline struct bytes buffer_bytes(const struct buffer *buffer)
{
    return bytes_make(buffer->data, buffer->size);
}

/* ---- little-endian integers at any address: the order of every file daybook writes ---- */

#define BYTES_DEFINE_LE(BITS, SWAP)                                                                          \
    static inline uint##BITS##_t bytes_get_u##BITS(const void *from)                                         \
    {                                                                                                        \
        uint##BITS##_t value;                                                                                \
        memcpy(&value, from, sizeof(value));                                                                 \
        return SWAP(value);                                                                                  \
    }                                                                                                        \
    static inline void bytes_put_u##BITS(void *to, uint##BITS##_t value)                                     \
    {                                                                                                        \
        value = SWAP(value);                                                                                 \
        memcpy(to, &value, sizeof(value));                                                                   \
    }

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define BYTES_SWAP_NONE(value) (value)
BYTES_DEFINE_LE(16, BYTES_SWAP_NONE)
BYTES_DEFINE_LE(32, BYTES_SWAP_NONE)
BYTES_DEFINE_LE(64, BYTES_SWAP_NONE)
#undef BYTES_SWAP_NONE
#else
BYTES_DEFINE_LE(16, __builtin_bswap16)
BYTES_DEFINE_LE(32, __builtin_bswap32)
BYTES_DEFINE_LE(64, __builtin_bswap64)
#endif
#undef BYTES_DEFINE_LE
