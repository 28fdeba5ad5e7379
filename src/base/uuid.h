#pragma once

/* UUIDs (RFC 9562): text form, and version 7, whose first 48 bits are milliseconds since 1970, so that ids
 * made later sort later. */

#include "base/bytes.h"

#define UUID_TEXT_SIZE 37 /* with the NUL */

struct uuid {
    uint8_t data[16];
};

enum { UUID_E_INVALID = 1 };

/* Lower case, 8-4-4-4-12, NUL-terminated. */
void uuid_format(struct uuid uuid, char ret_text[UUID_TEXT_SIZE]);

/* Reads the 36-character form, either case, any version. Answers UUID_E_INVALID. */
_must_check_ int uuid_parse(struct bytes text, struct uuid *ret_uuid);

/* A version 7 UUID of a time (milliseconds since 1970, the low 48 bits count) and ten random bytes. */
struct uuid uuid_v7(uint64_t time_ms, const uint8_t random[10]);

static inline bool uuid_equal(struct uuid a, struct uuid b)
{
    return memcmp(a.data, b.data, sizeof(a.data)) == 0;
}
