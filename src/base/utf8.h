#pragma once

/* UTF-8 as RFC 3629 has it: shortest forms only, no surrogates, nothing above U+10FFFF. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

#define UTF8_SIZE_MAX 4 /* bytes of one code point */

/* Reads the code point that text begins with: its size in bytes, or 0 when text is empty or does not begin
 * with valid UTF-8 (then *ret_code_point is untouched). */
size_t utf8_decode(struct bytes text, uint32_t *ret_code_point);

/* Writes one code point (valid, not a surrogate) and answers its size in bytes. */
size_t utf8_encode(uint32_t code_point, uint8_t ret_text[UTF8_SIZE_MAX]);

bool utf8_valid(struct bytes text);
