#pragma once

/*
 * query: percent-decoding (RFC 3986 §2.1) and query strings (name=value, joined by `&`, `+` for a space).
 * Strict: a `%` that is not followed by two hexadecimal digits is an answer, not a guess.
 */

#include <stdbool.h>

#include "base/bytes.h"

enum {
    HTTP_E_ENCODING = 1, /* a broken percent escape, or text that is not UTF-8 */
    HTTP_E_COUNT,        /* more parameters than allowed */
};

/* Decode `text` into `out`, which has room for text.size bytes; `plus` also turns `+` into a space. `ret_size` is how
 * many bytes it became. */
_must_check_ int http_percent_decode(struct bytes text, bool plus, uint8_t *out, size_t *ret_size);

/* How many parameters a query string has at most: to size the array for http_query_parse(). */
size_t http_query_count(struct bytes query);

struct http_parameter;

/* Decode a whole query string. `memory` has room for query.size bytes and holds the decoded text; `parameters` has
 * room for `count_max`. Empty pieces (`a=1&&b=2`) are skipped; a piece without `=` has an empty value. */
_must_check_ int http_query_parse(struct bytes query, uint8_t *memory, struct http_parameter *parameters,
                                  size_t count_max, size_t *ret_count);
