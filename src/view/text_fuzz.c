/* Any text goes through SQL and back, folds to something that is folded, and is a pattern that ends; any SQL is declared. */
#include <assert.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/utf8.h"
#include "view/carry.h"
#include "view/fold.h"
#include "view/match.h"
#include "view/schema.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_json(struct bytes text)
{
    struct json_doc doc = {0};
    int r = json_parse(text, &doc, NULL);
    json_doc_deinit(&doc);
    return r == 0;
}

/* carry.h: what went in comes out; no U+0000 is between. */
static void check_carried(struct bytes text)
{
    _cleanup_(buffer_deinit) struct buffer room = {0}, out = {0}, json_room = {0};
    struct bytes carried;
    assert(carry_text(text, &room, &carried) == 0);
    for (size_t i = 0; i < carried.size; i++)
        assert(carried.data[i] != 0);
    if (!is_json(carried)) {
        assert(carry_out(carried, &out) == 0);
        assert(bytes_equal(buffer_bytes(&out), text));
    }
    buffer_clear(&out);
    assert(carry_json(text, &json_room, &carried) == 0);
    if (is_json(text)) {
        assert(is_json(carried));
        assert(carry_out(carried, &out) == 0);
        assert(is_json(buffer_bytes(&out)));
    }
}

static void check_folded(struct bytes text)
{
    _cleanup_(buffer_deinit) struct buffer once = {0}, twice = {0};
    if (!utf8_valid(text))
        return;
    assert(fold_text(text, &once) == 0);
    assert(utf8_valid(buffer_bytes(&once)));
    assert(fold_text(buffer_bytes(&once), &twice) == 0);
    assert(bytes_equal(buffer_bytes(&once), buffer_bytes(&twice)));
}

static bool enough(void *user)
{
    return ++*(int *)user > 100;
}

/* The first byte says where the pattern ends and the text begins. */
static void check_matched(struct bytes input)
{
    size_t size = input.size > 0 ? input.data[0] : 0;
    struct bytes pattern_text = bytes_slice(input, 1, size), text = bytes_slice(input, size + 1, input.size);
    struct match_pattern pattern;
    int looks = 0;
    struct match_watch watch = {.look = enough, .user = &looks};
    if (!text.data)
        return;
    assert(match_like(pattern_text, '\\', &pattern) == 0);
    (void)match_text(&pattern, text, &watch);
    match_pattern_deinit(&pattern);
    assert(match_glob(pattern_text, &pattern) == 0);
    (void)match_text(&pattern, text, &watch);
    match_pattern_deinit(&pattern);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(buffer_deinit) struct buffer declared = {0};
    struct bytes input = bytes_make(data, size);
    check_carried(input);
    check_folded(input);
    check_matched(input);
    assert(schema_declare(input, &declared) == 0);
    assert(declared.size >= size);
    return 0;
}
