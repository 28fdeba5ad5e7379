/*
 * Whatever text comes, json_parse() answers, and what it accepts can be walked, read, minified, parsed again and
 * written again as the same value.
 */
#include <assert.h>

#include "base/cleanup.h"
#include "base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void copy_value(struct json_writer *w, struct json_value value);

static void copy_items(struct json_writer *w, struct json_value container)
{
    struct json_cursor at = json_walk(container);

    while (json_next(&at)) {
        if (at.members) {
            _cleanup_(buffer_deinit) struct buffer key = {0};
            int r = json_string(at.key, &key);

            assert(r == 0);
            assert(json_string_equals_bytes(at.key, buffer_bytes(&key)));
            json_write_key_bytes(w, buffer_bytes(&key));
        }
        copy_value(w, at.value);
    }
}

static void copy_string(struct json_writer *w, struct json_value value)
{
    _cleanup_(buffer_deinit) struct buffer text = {0};
    struct bytes plain;
    int r = json_string(value, &text);

    assert(r == 0);
    if (json_string_plain(value, &plain))
        assert(bytes_equal(plain, buffer_bytes(&text)));
    json_write_bytes(w, buffer_bytes(&text));
}

/* The parser's limit bounds the depth. */
static void copy_value(struct json_writer *w, struct json_value value)
{
    double number;

    switch (json_type(value)) {
    case JSON_OBJECT:
        json_write_object_begin(w);
        copy_items(w, value);
        json_write_object_end(w);
        break;
    case JSON_ARRAY:
        json_write_array_begin(w);
        copy_items(w, value);
        json_write_array_end(w);
        break;
    case JSON_STRING: copy_string(w, value); break;
    case JSON_NUMBER:
        assert(json_double(value, &number) == 0 || json_double(value, &number) == JSON_E_RANGE);
        json_write_raw(w, json_raw(value));
        break;
    default: json_write_raw(w, json_raw(value)); break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(json_doc_deinit) struct json_doc doc = {0}, again = {0}, copied = {0};
    _cleanup_(buffer_deinit) struct buffer small = {0}, copy = {0};
    struct json_error error = {0};
    struct json_writer w = json_writer(&copy);
    int r = json_parse(bytes_make(data, size), &doc, &error);

    if (r != 0) {
        assert(r == JSON_E_INVALID && error.offset <= size && error.reason);
        return 0;
    }
    assert(json_minify(json_raw(json_root(&doc)), &small) == 0);
    assert(json_parse(buffer_bytes(&small), &again, NULL) == 0);
    assert(again.count == doc.count);
    copy_value(&w, json_root(&doc));
    assert(json_write_end(&w) == 0);
    assert(json_parse(buffer_bytes(&copy), &copied, NULL) == 0);
    assert(copied.count == doc.count);
    return 0;
}
