/*
 * Whatever a client sends is answered; what is taken obeys the rules of journal.h, so that journal_submit() finds nothing
 * left but sizes. The first byte chooses the form.
 */
#include <assert.h>

#include "journal/append_json.h"
#include "journal/validate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_item(const struct append_json_item *item)
{
    struct journal_result result = {0};
    int r = validate_append(&item->append, &result);
    assert(item->append.event_count > 0);
    assert(r == 0 || r == JOURNAL_E_TOO_LARGE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct append_json *parsed = NULL;
    struct journal_query query;
    if (size == 0)
        return 0;
    struct bytes text = bytes_make(data + 1, size - 1);
    struct append_json_options options = {
        .form = (enum append_json_form)(data[0] % 3),
        .traceparent = data[0] & 64 ? BYTES_LITERAL("00-\"") : (struct bytes){0},
        .stream = data[0] % 3 == 1 ? BYTES_LITERAL("s") : (struct bytes){0}};
    int r = append_json_parse(text, &options, &parsed);
    assert(r >= 0);
    for (size_t i = 0; r == 0 && i < parsed->item_count; i++)
        if (parsed->items[i].violation_count == 0)
            check_item(&parsed->items[i]);
    assert(r != APPEND_JSON_E_INVALID || parsed->violation_count > 0);
    append_json_free(parsed);
    r = append_json_parse_query(text, &parsed, &query);
    assert(r >= 0);
    append_json_free(parsed);
    return 0;
}
