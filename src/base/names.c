#include "base/names.h"

#include "base/utf8.h"

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
    answer = check_characters(kind, name);
    if (answer != 0)
        return answer;
    if (bytes_equal_string(name, ".") || bytes_equal_string(name, ".."))
        return NAME_E_DOT;
    if (name.data[0] == '$')
        return NAME_E_SYSTEM;
    return 0;
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
        [NAME_E_SYSTEM] = "must not begin with \"$\": such names are daybook's own",
    };

    if (answer < 0 || (size_t)answer >= sizeof(rules) / sizeof(rules[0]))
        return "is not a valid name";
    return rules[answer];
}
