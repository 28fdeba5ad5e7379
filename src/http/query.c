#include "http/query.h"

#include "base/hex.h"
#include "base/utf8.h"
#include "http/http.h"

int http_percent_decode(struct bytes text, bool plus, uint8_t *out, size_t *ret_size)
{
    size_t size = 0;

    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i];
        if (c == '%') {
            int high = i + 2 < text.size ? hex_value(text.data[i + 1]) : -1;
            int low = i + 2 < text.size ? hex_value(text.data[i + 2]) : -1;
            if (high < 0 || low < 0)
                return HTTP_E_ENCODING;
            c = (uint8_t)(high << 4 | low);
            i += 2;
        } else if (c == '+' && plus) {
            c = ' ';
        }
        out[size++] = c;
    }
    if (!utf8_valid(bytes_make(out, size)))
        return HTTP_E_ENCODING;
    *ret_size = size;
    return 0;
}

/* The piece up to the next `&`; *text moves behind it. */
static struct bytes next_piece(struct bytes *text)
{
    const uint8_t *end = text->size > 0 ? memchr(text->data, '&', text->size) : NULL;
    size_t size = end ? (size_t)(end - text->data) : text->size;
    struct bytes piece = bytes_slice(*text, 0, size);

    *text = bytes_slice(*text, end ? size + 1 : size, SIZE_MAX);
    return piece;
}

size_t http_query_count(struct bytes query)
{
    size_t count = 0;

    while (query.size > 0)
        count += next_piece(&query).size > 0;
    return count;
}

/* Decodes one half of a piece to *memory and moves it on. */
static int decode_part(struct bytes text, uint8_t **memory, struct bytes *ret_part)
{
    size_t size;
    int r = http_percent_decode(text, true, *memory, &size);

    if (r != 0)
        return r;
    *ret_part = bytes_make(*memory, size);
    *memory += size;
    return 0;
}

int http_query_parse(struct bytes query, uint8_t *memory, struct http_parameter *parameters, size_t count_max,
                     size_t *ret_count)
{
    size_t count = 0;

    while (query.size > 0) {
        struct bytes piece = next_piece(&query);
        if (piece.size == 0)
            continue;
        if (count == count_max)
            return HTTP_E_COUNT;
        const uint8_t *equals = memchr(piece.data, '=', piece.size);
        size_t name_size = equals ? (size_t)(equals - piece.data) : piece.size;
        struct http_parameter parameter;
        int r = decode_part(bytes_slice(piece, 0, name_size), &memory, &parameter.name);
        parameter.raw = bytes_slice(piece, name_size + (equals != NULL), SIZE_MAX);
        if (r == 0)
            r = decode_part(parameter.raw, &memory, &parameter.value);
        if (r != 0)
            return r;
        parameters[count++] = parameter;
    }
    *ret_count = count;
    return 0;
}
