#pragma once

/* Bytes as text: hexadecimal, and base64 (RFC 4648 §4, with padding, strict). */

#include "base/bytes.h"

enum { TEXT_E_INVALID = 1 };

extern const char hex_digits[17]; /* "0123456789abcdef" */

/* The value of a hexadecimal digit of either case, -1 for any other character. */
static inline int hex_value(uint8_t character)
{
    if (character >= '0' && character <= '9')
        return character - '0';
    character |= 0x20;
    return character >= 'a' && character <= 'f' ? character - 'a' + 10 : -1;
}

/* Each appends to the buffer and returns 0, -ENOMEM or -E2BIG; reading also answers TEXT_E_INVALID (a
 * character outside the alphabet, a wrong length, wrong padding, or bits left over that are not zero). On
 * anything but 0 the buffer is as it was. */
_must_check_ int hex_encode(struct bytes bytes, struct buffer *out);
_must_check_ int hex_decode(struct bytes text, struct buffer *out);
_must_check_ int base64_encode(struct bytes bytes, struct buffer *out);
_must_check_ int base64_decode(struct bytes text, struct buffer *out);
