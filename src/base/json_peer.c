#include "base/json_peer.h"

#include <jansson.h>

static json_t *load(struct bytes text, json_error_t *error)
{
    return json_loadb((const char *)text.data, text.size,
                      JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, error);
}

enum peer_opinion peer_parse(struct bytes text)
{
    json_error_t error;
    json_t *value = load(text, &error);
    enum json_error_code code;

    if (value) {
        json_decref(value);
        return PEER_ACCEPTS;
    }
    code = json_error_code(&error);
    if (code == json_error_numeric_overflow || code == json_error_null_byte_in_key)
        return PEER_CANNOT;
    return PEER_REFUSES;
}

bool peer_same_value(struct bytes a, struct bytes b)
{
    json_error_t error;
    json_t *left = load(a, &error), *right = load(b, &error);
    bool same = left && right && json_equal(left, right);

    json_decref(left);
    json_decref(right);
    return same;
}
