#include "journal/event_json.h"

#include "base/hex.h"
#include "base/json.h"
#include "base/time.h"
#include "base/uuid.h"

static void write_names(struct json_writer *w, const struct journal_event *event)
{
    char id[UUID_TEXT_SIZE], time[TIME_TEXT_SIZE];
    struct uuid uuid;
    memcpy(uuid.data, event->id, sizeof(uuid.data));
    uuid_format(uuid, id);
    json_write_member_u64(w, "position", event->position);
    if (event->stream.size > 0) {
        json_write_member_bytes(w, "stream", event->stream);
        json_write_member_u64(w, "version", event->version);
    }
    json_write_member_bytes(w, "type", event->type);
    json_write_member_string(w, "id", id);
    /* A clock that says year 20000 makes no good time, but an event all the same. */
    json_write_member_string(w, "time",
                             time_format(event->time_us, time) == 0 ? time : "9999-12-31T23:59:59.999999Z");
    json_write_key(w, "tags");
    json_write_array_begin(w);
    for (size_t i = 0; i < event->tag_count; i++)
        json_write_bytes(w, event->tags[i]);
    json_write_array_end(w);
}

static int write_base64(struct json_writer *w, struct bytes data)
{
    struct buffer text = {0};
    int r = base64_encode(data, &text);
    if (r == 0)
        json_write_member_bytes(w, "data_base64", buffer_bytes(&text));
    buffer_deinit(&text);
    return r;
}

static int write_content(struct json_writer *w, const struct journal_event *event)
{
    if (event->stub || event->erased || event->sealed) {
        json_write_member_bool(w, event->stub ? "stub" : event->erased ? "erased" : "sealed", true);
        return 0;
    }
    if (event->subject.size > 0)
        json_write_member_bytes(w, "subject", event->subject);
    if (event->content_type.size > 0) {
        int r = write_base64(w, event->data);
        if (r < 0)
            return r;
        json_write_member_bytes(w, "content_type", event->content_type);
    } else if (event->data.size > 0) {
        json_write_member_raw(w, "data", event->data);
    }
    if (event->meta.size > 0)
        json_write_member_raw(w, "meta", event->meta);
    return 0;
}

int event_json_write(const struct journal_event *event, struct buffer *out)
{
    size_t size_before = out->size;
    struct json_writer w = json_writer(out);
    json_write_object_begin(&w);
    write_names(&w, event);
    int r = write_content(&w, event);
    if (r == 0) {
        json_write_object_end(&w);
        r = json_write_end(&w);
    }
    if (r < 0)
        out->size = size_before;
    return r;
}
