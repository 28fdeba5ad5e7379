#include "base/uuid.h"

#include "base/hex.h"

/* Where the text form has its dashes. */
static bool is_dash(size_t text_index)
{
    return text_index == 8 || text_index == 13 || text_index == 18 || text_index == 23;
}

void uuid_format(struct uuid uuid, char ret_text[UUID_TEXT_SIZE])
{
    size_t at = 0;

    for (size_t i = 0; i < sizeof(uuid.data); i++) {
        if (is_dash(at))
            ret_text[at++] = '-';
        ret_text[at++] = hex_digits[uuid.data[i] >> 4];
        ret_text[at++] = hex_digits[uuid.data[i] & 15];
    }
    ret_text[at] = '\0';
}

int uuid_parse(struct bytes text, struct uuid *ret_uuid)
{
    struct uuid uuid;
    size_t at = 0;

    if (text.size != UUID_TEXT_SIZE - 1)
        return UUID_E_INVALID;
    for (size_t i = 0; i < sizeof(uuid.data); i++) {
        int high, low;

        if (is_dash(at) && text.data[at++] != '-')
            return UUID_E_INVALID;
        high = hex_value(text.data[at++]);
        low = hex_value(text.data[at++]);
        if (high < 0 || low < 0)
            return UUID_E_INVALID;
        uuid.data[i] = (uint8_t)(high << 4 | low);
    }
    *ret_uuid = uuid;
    return 0;
}

struct uuid uuid_v7(uint64_t time_ms, const uint8_t random[10])
{
    struct uuid uuid;

    for (size_t i = 0; i < 6; i++)
        uuid.data[i] = (uint8_t)(time_ms >> (40 - 8 * i));
    memcpy(uuid.data + 6, random, 10);
    uuid.data[6] = (uint8_t)(0x70 | (uuid.data[6] & 0x0f)); /* version 7 */
    uuid.data[8] = (uint8_t)(0x80 | (uuid.data[8] & 0x3f)); /* the variant of RFC 9562 */
    return uuid;
}
