/* Whatever comes as a CloudEvent or as a line is answered; what comes out is JSON, and what we wrote is read again. */

#include <assert.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "journal/cloudevents.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void assert_json(const struct buffer *text)
{
    _cleanup_(json_doc_deinit) struct json_doc doc = {0};
    int r = json_parse(buffer_bytes(text), &doc, NULL);

    assert(r == 0 && json_type(json_root(&doc)) == JSON_OBJECT);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(buffer_deinit) struct buffer line = {0};
    _cleanup_(buffer_deinit) struct buffer event = {0};
    const char *reason = NULL;
    int r = cloudevents_to_line(bytes_make(data, size), &line, &reason);

    assert(r == 0 || (reason && line.size == 0));
    if (r == 0) {
        assert_json(&line);
        assert(cloudevents_from_line(buffer_bytes(&line), "urn:daybook:fuzz", &event) == 0);
        assert_json(&event);
    }
    buffer_clear(&event);
    r = cloudevents_from_line(bytes_make(data, size), "urn:daybook:fuzz", &event);
    assert(r == 0 || event.size == 0);
    if (r == 0)
        assert_json(&event);
    return 0;
}
