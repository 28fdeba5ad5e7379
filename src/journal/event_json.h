/* event_json: an event as the JSON object that HTTP, SSE, the command line and export files share.
 *
 *     {"position":7,"stream":"room-1","version":2,"type":"RoomBooked","id":"0193…","time":"2026-11-23T06:07:20.123456Z",
 *      "tags":["room:1"],"data":{…},"meta":{…}}
 *
 * Always in this order, without white space. `stream` and `version` are left out for an event in no stream, `meta` when
 * there is none. Data of content type application/json stands as it is stored; other data is `data_base64` with its
 * `content_type`. A stub says `"stub":true` and has neither data nor meta; so does an event whose subject's key was
 * destroyed, `"erased":true`, and one whose key is not here, `"sealed":true`. `subject` stands before the data of an event
 * that is about one. An event with an idempotency key does not
 * show it: it is the client's secret with the server.
 *
 * Written and read again, an event is the same in id, stream, type, tags, data, content type and meta. Position, version
 * and time are the journal's own and are made anew by the journal that takes it in.
 */
#pragma once

#include "journal/journal.h"

enum {
    EVENT_JSON_LINE_SIZE_MAX =
        4 * 1024 * 1024, /* bytes of one line of an import: far above LOG_APPEND_SIZE_MAX */
};

/* Append `event` to `out` as one JSON object. 0, -ENOMEM or -E2BIG; then `out` is as it was. */
_must_check_ int event_json_write(const struct journal_event *event, struct buffer *out);
