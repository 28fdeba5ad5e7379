#include "base/utf8.h"

#include <assert.h>

/* What a first byte promises: how many bytes follow, which of its bits count, and the least value that may be
 * written this long (anything less is an overlong form). */
struct lead {
    uint8_t mask, match, bits, follow;
    uint32_t least;
};

static const struct lead leads[] = {
    {.mask = 0xe0, .match = 0xc0, .bits = 0x1f, .follow = 1, .least = 0x80},
    {.mask = 0xf0, .match = 0xe0, .bits = 0x0f, .follow = 2, .least = 0x800},
    {.mask = 0xf8, .match = 0xf0, .bits = 0x07, .follow = 3, .least = 0x10000},
};

static size_t decode_long(struct bytes text, const struct lead *lead, uint32_t *ret_code_point)
{
    uint32_t code_point = text.data[0] & lead->bits;

    if (text.size <= lead->follow)
        return 0;
    for (size_t i = 1; i <= lead->follow; i++) {
        if ((text.data[i] & 0xc0) != 0x80)
            return 0;
        code_point = code_point << 6 | (text.data[i] & 0x3f);
    }
    if (code_point < lead->least || code_point > 0x10ffff || (code_point & 0xfffff800) == 0xd800)
        return 0;
    *ret_code_point = code_point;
    return (size_t)lead->follow + 1;
}

size_t utf8_decode(struct bytes text, uint32_t *ret_code_point)
{
    if (text.size == 0)
        return 0;
    if (text.data[0] < 0x80) {
        *ret_code_point = text.data[0];
        return 1;
    }
    for (size_t i = 0; i < sizeof(leads) / sizeof(leads[0]); i++) {
        if ((text.data[0] & leads[i].mask) == leads[i].match)
            return decode_long(text, &leads[i], ret_code_point);
    }
    return 0;
}

size_t utf8_encode(uint32_t code_point, uint8_t ret_text[UTF8_SIZE_MAX])
{
    assert(code_point <= 0x10ffff && (code_point & 0xfffff800) != 0xd800);
    if (code_point < 0x80) {
        ret_text[0] = (uint8_t)code_point;
        return 1;
    }
    if (code_point < 0x800) {
        ret_text[0] = (uint8_t)(0xc0 | code_point >> 6);
        ret_text[1] = (uint8_t)(0x80 | (code_point & 0x3f));
        return 2;
    }
    if (code_point < 0x10000) {
        ret_text[0] = (uint8_t)(0xe0 | code_point >> 12);
        ret_text[1] = (uint8_t)(0x80 | (code_point >> 6 & 0x3f));
        ret_text[2] = (uint8_t)(0x80 | (code_point & 0x3f));
        return 3;
    }
    ret_text[0] = (uint8_t)(0xf0 | code_point >> 18);
    ret_text[1] = (uint8_t)(0x80 | (code_point >> 12 & 0x3f));
    ret_text[2] = (uint8_t)(0x80 | (code_point >> 6 & 0x3f));
    ret_text[3] = (uint8_t)(0x80 | (code_point & 0x3f));
    return 4;
}

bool utf8_valid(struct bytes text)
{
    size_t offset = 0;

    while (offset < text.size) {
        uint32_t code_point;
        size_t size;

        if (text.data[offset] < 0x80) {
            offset++;
            continue;
        }
        size = utf8_decode(bytes_make(text.data + offset, text.size - offset), &code_point);
        if (size == 0)
            return false;
        offset += size;
    }
    return true;
}
