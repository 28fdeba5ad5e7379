#include "base/hex.h"

#include "base/checked.h"

const char hex_digits[17] = "0123456789abcdef";

static const char base64_digits[65] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

int hex_encode(struct bytes bytes, struct buffer *out)
{
    uint8_t *to;
    size_t size;
    int r;

    if (!checked_mul_size(bytes.size, 2, &size))
        return -E2BIG;
    r = buffer_extend(out, size, &to);
    if (r < 0)
        return r;
    for (size_t i = 0; i < bytes.size; i++) {
        *to++ = (uint8_t)hex_digits[bytes.data[i] >> 4];
        *to++ = (uint8_t)hex_digits[bytes.data[i] & 15];
    }
    return 0;
}

int hex_decode(struct bytes text, struct buffer *out)
{
    size_t size_before = out->size;
    uint8_t *to;
    int r;

    if (text.size % 2 != 0)
        return TEXT_E_INVALID;
    r = buffer_extend(out, text.size / 2, &to);
    if (r < 0)
        return r;
    for (size_t i = 0; i < text.size; i += 2) {
        int high = hex_value(text.data[i]), low = hex_value(text.data[i + 1]);

        if (high < 0 || low < 0) {
            out->size = size_before;
            return TEXT_E_INVALID;
        }
        *to++ = (uint8_t)(high << 4 | low);
    }
    return 0;
}

int base64_encode(struct bytes bytes, struct buffer *out)
{
    uint8_t *to;
    size_t size;
    int r;

    if (!checked_mul_size(bytes.size / 3 + (bytes.size % 3 != 0), 4, &size))
        return -E2BIG;
    r = buffer_extend(out, size, &to);
    if (r < 0)
        return r;
    for (size_t i = 0; i < bytes.size; i += 3) {
        size_t left = bytes.size - i;
        uint32_t three = (uint32_t)bytes.data[i] << 16;

        if (left > 1)
            three |= (uint32_t)bytes.data[i + 1] << 8;
        if (left > 2)
            three |= bytes.data[i + 2];
        *to++ = (uint8_t)base64_digits[three >> 18];
        *to++ = (uint8_t)base64_digits[three >> 12 & 63];
        *to++ = left > 1 ? (uint8_t)base64_digits[three >> 6 & 63] : '=';
        *to++ = left > 2 ? (uint8_t)base64_digits[three & 63] : '=';
    }
    return 0;
}

static int base64_value(uint8_t character)
{
    if (character >= 'A' && character <= 'Z')
        return character - 'A';
    if (character >= 'a' && character <= 'z')
        return character - 'a' + 26;
    if (character >= '0' && character <= '9')
        return character - '0' + 52;
    if (character == '+')
        return 62;
    return character == '/' ? 63 : -1;
}

/* Four characters of which `padding` at the end are "=": the 24 bits, or -1. */
static int32_t base64_group(const uint8_t *text, size_t padding)
{
    int32_t bits = 0;

    for (size_t i = 0; i < 4; i++) {
        int value = i < 4 - padding ? base64_value(text[i]) : 0;

        if (value < 0)
            return -1;
        bits = bits << 6 | value;
    }
    if ((padding == 1 && (bits & 0xff) != 0) || (padding == 2 && (bits & 0xffff) != 0))
        return -1;
    return bits;
}

int base64_decode(struct bytes text, struct buffer *out)
{
    size_t size_before = out->size, padding_last = 0;
    uint8_t *to;
    int r;

    if (text.size % 4 != 0)
        return TEXT_E_INVALID;
    while (padding_last < 2 && text.size > 0 && text.data[text.size - 1 - padding_last] == '=')
        padding_last++;
    r = buffer_extend(out, text.size / 4 * 3 - padding_last, &to);
    if (r < 0)
        return r;
    for (size_t i = 0; i < text.size; i += 4) {
        size_t padding = i + 4 == text.size ? padding_last : 0;
        int32_t bits = base64_group(text.data + i, padding);

        if (bits < 0) {
            out->size = size_before;
            return TEXT_E_INVALID;
        }
        for (size_t k = 0; k < 3 - padding; k++)
            *to++ = (uint8_t)(bits >> (16 - 8 * k));
    }
    return 0;
}
