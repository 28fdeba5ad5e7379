#include "base/names.h"

#include "base/utf8.h"

/* Nearly all names are plain ASCII, and every event read has some: they are looked at eight bytes at a time. Each test
 * below sets the top bit of a byte that fails it; a borrow may set that of the byte above too, never without a failure
 * below it, so that "none is set" is exact. */

static uint64_t repeat(uint8_t byte)
{
    return UINT64_C(0x0101010101010101) * byte;
}

static uint64_t below(uint64_t word, uint8_t least)
{
    return (word - repeat(least)) & ~word;
}

/* Eight bytes, all of them printable ASCII and none of them `avoided`. */
static bool is_plain_word(const uint8_t *data, uint8_t avoided)
{
    uint64_t word = bytes_get_u64(data);

    return ((word | below(word, 0x20) | below(word ^ repeat(0x7f), 1) | below(word ^ repeat(avoided), 1)) &
            repeat(0x80)) == 0;
}

static bool is_plain_byte(uint8_t byte, uint8_t avoided)
{
    return byte >= 0x20 && byte < 0x7f && byte != avoided;
}

/* Whether the characters keep all rules because they are plain; false: only looking at each of them can tell. */
static bool is_plain(enum name_kind kind, struct bytes name)
{
    uint8_t avoided = kind == NAME_STREAM ? '/' : 0x7f;
    size_t offset = 0;

    for (; name.size - offset > 8; offset += 8) {
        if (!is_plain_word(name.data + offset, avoided))
            return false;
    }
    if (name.size >= 8) /* the last eight, some of them for the second time */
        return is_plain_word(name.data + name.size - 8, avoided);
    for (; offset < name.size; offset++) {
        if (!is_plain_byte(name.data[offset], avoided))
            return false;
    }
    return true;
}

static int check_characters(enum name_kind kind, struct bytes name)
{
    int answer = 0;

    for (size_t offset = 0, size; offset < name.size; offset += size) {
        uint32_t code_point;

        size = utf8_decode(bytes_make(name.data + offset, name.size - offset), &code_point);
        if (size == 0)
            return NAME_E_UTF8;
        if (code_point < 0x20 || (code_point >= 0x7f && code_point < 0xa0))
            answer = NAME_E_CONTROL;
        if (answer == 0 && code_point == '/' && kind == NAME_STREAM)
            answer = NAME_E_SLASH;
    }
    return answer;
}

int name_check(enum name_kind kind, struct bytes name)
{
    int answer;

    if (name.size == 0)
        return NAME_E_EMPTY;
    if (name.size > NAME_SIZE_MAX)
        return NAME_E_LONG;
    answer = is_plain(kind, name) ? 0 : check_characters(kind, name);
    if (answer != 0)
        return answer;
    if (name.data[0] == '.' && (name.size == 1 || (name.size == 2 && name.data[1] == '.')))
        return NAME_E_DOT;
    if (name.data[0] == '$')
        return NAME_E_SYSTEM;
    return 0;
}

bool name_type_is_reserved(struct bytes type)
{
    while (type.size > 0 && type.data[0] == ' ')
        type = bytes_slice(type, 1, SIZE_MAX);
    return bytes_starts_with(type, BYTES_LITERAL("daybook."));
}

const char *name_rule(int answer)
{
    static const char *const rules[] = {
        [0] = "is a valid name",
        [NAME_E_EMPTY] = "must not be empty",
        [NAME_E_LONG] = "must not be longer than 256 bytes",
        [NAME_E_UTF8] = "must be valid UTF-8",
        [NAME_E_CONTROL] = "must not contain control characters",
        [NAME_E_SLASH] = "must not contain \"/\"",
        [NAME_E_DOT] = "must not be \".\" or \"..\"",
        [NAME_E_RESERVED] = "must not begin with \"daybook.\": such are the server's own frames in subscriptions",
        [NAME_E_SYSTEM] = "must not begin with \"$\": such names are daybook's own",
    };

    if (answer < 0 || (size_t)answer >= sizeof(rules) / sizeof(rules[0]))
        return "is not a valid name";
    return rules[answer];
}
