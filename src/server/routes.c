/* The one table of routes: the router, the check of query parameters and /openapi.json read it. */

#include <stdio.h>
#include <string.h>

#include "journal/retention.h"
#include "replica/key_copy.h"
#include "replica/wire.h"
#include "server/group_body.h"
#include "server/internal.h"

enum { QUERY_BODY_SIZE_MAX = 65536 };

#define ABOUT(...)                                                                                           \
    .data = &(const struct route_about)                                                                      \
    {                                                                                                        \
        __VA_ARGS__                                                                                          \
    }
#define JSON_TYPE  "application/json"
#define SSE_TYPE   "text/event-stream"
#define LINES_TYPE "application/x-ndjson"
#define CSV_TYPE   "text/csv"

#define READ_PARAMETERS                                                                                      \
    "limit: events of a page, 1 to 10000, 100 unless said", "direction: forward or backward",                \
        "system: 1 shows daybook's own events too", "named: 1 lets a subscription name its events by type"
#define BOUND_PARAMETERS                                                                                     \
    "after: position or cursor, exclusive", "before: position or cursor, exclusive", READ_PARAMETERS
#define PREFIX_PARAMETER "prefix: only streams whose names begin so"
#define VIEW_PARAMETERS                                                                                      \
    "min_position: answer once the data has reached this position", "as_of: position or time to look back "  \
                                                                    "to"
#define EVENT_TYPES                                                                                          \
    {                                                                                                        \
        JSON_TYPE, SSE_TYPE, LINES_TYPE                                                                      \
    }
#define ROW_TYPES                                                                                            \
    {                                                                                                        \
        JSON_TYPE, CSV_TYPE, LINES_TYPE                                                                      \
    }

static const struct http_route routes[] = {
    {"POST", "/v1/append", handle_append, HTTP_JSON,
     ABOUT(.operation = "append", .role = ROLE_WRITER,
           .summary = "Append events, with expected versions and a condition; or several appends at once",
           .body = "AppendRequest", .answer = "Appended", .types = {JSON_TYPE},
           .statuses = {201, 200, 409, 422, 507})},
    {"GET", "/v1/streams/{stream}", handle_stream_read, HTTP_LARGE,
     ABOUT(.operation = "readStream", .role = ROLE_READER, .summary = "Read a stream, or subscribe to it",
           .parameters = {"from: first version, inclusive", "to: last version, inclusive",
                          "after: position or cursor a subscription begins after", READ_PARAMETERS},
           .answer = "StreamPage", .types = EVENT_TYPES, .statuses = {200, 304, 404, 406, 409, 429})},
    {"POST", "/v1/streams/{stream}", handle_stream_append, HTTP_JSON,
     ABOUT(.operation = "appendToStream", .role = ROLE_WRITER,
           .summary =
               "Append an event or an array of events to one stream; If-Match and If-None-Match guard it",
           .body = "StreamEvents", .answer = "Appended", .types = {JSON_TYPE},
           .statuses = {201, 412, 409, 422, 507})},
    {"GET", "/v1/streams/{stream}/retention", handle_stream_retention, HTTP_BLOCKING,
     ABOUT(.operation = "readStreamRetention", .role = ROLE_READER, .summary = "The retention rule of a stream",
           .answer = "RetentionRule", .types = {JSON_TYPE}, .statuses = {200, 404})},
    {"PUT", "/v1/streams/{stream}/retention", handle_stream_retention_set, HTTP_JSON | HTTP_BLOCKING,
     RETENTION_BODY_SIZE_MAX,
     ABOUT(.operation = "setStreamRetention", .role = ROLE_OPERATOR,
           .summary = "How long a stream's events are kept: max_age_s, max_count, truncate_before",
           .body = "Retention", .answer = "RetentionRule", .types = {JSON_TYPE}, .statuses = {200, 422, 507})},
    {"DELETE", "/v1/streams/{stream}/retention", handle_stream_retention_remove, HTTP_BLOCKING,
     ABOUT(.operation = "removeStreamRetention", .role = ROLE_OPERATOR,
           .summary = "Remove the retention rule of a stream", .statuses = {204, 404, 507})},
    {"DELETE", "/v1/subjects/{subject}", handle_subject_erase, HTTP_BLOCKING,
     ABOUT(.operation = "eraseSubject", .role = ROLE_OPERATOR,
           .summary = "Erase a person's data for good: destroy the key it was sealed with, and rebuild what was "
                      "derived from it; 202: the rebuilding goes on",
           .answer = "Erased", .types = {JSON_TYPE}, .statuses = {200, 202, 404, 507})},
    {"GET", "/v1/retention", handle_retention, HTTP_BLOCKING,
     ABOUT(.operation = "listRetention", .role = ROLE_READER, .summary = "All retention rules",
           .answer = "RetentionRules", .types = {JSON_TYPE}, .statuses = {200})},
    {"PUT", "/v1/retention", handle_prefix_retention_set, HTTP_JSON | HTTP_BLOCKING, RETENTION_BODY_SIZE_MAX,
     ABOUT(.operation = "setPrefixRetention", .role = ROLE_OPERATOR,
           .summary = "How long the events of all streams with a prefix are kept; the empty one is for every event",
           .parameters = {"prefix: what the names of the streams begin with"}, .body = "Retention",
           .answer = "RetentionRule", .types = {JSON_TYPE}, .statuses = {200, 422, 507})},
    {"DELETE", "/v1/retention", handle_prefix_retention_remove, HTTP_BLOCKING,
     ABOUT(.operation = "removePrefixRetention", .role = ROLE_OPERATOR,
           .summary = "Remove the retention rule of a prefix",
           .parameters = {"prefix: what the names of the streams begin with"}, .statuses = {204, 404, 507})},
    {"POST", "/v1/compact", handle_compact, HTTP_JSON | HTTP_BLOCKING, 131072,
     ABOUT(.operation = "compact", .role = ROLE_OPERATOR,
           .summary = "Write the state of a tag into the journal, to stand for the events before it",
           .body = "Compact", .answer = "Compacted", .types = {JSON_TYPE},
           .statuses = {201, 404, 409, 422, 507})},
    {"POST", "/v1/clock", handle_clock, HTTP_JSON | HTTP_BLOCKING, 1024,
     ABOUT(.operation = "correctClock", .role = ROLE_OPERATOR,
           .summary = "The clock was ahead and is right now: times go on from here",
           .answer = "Compacted", .types = {JSON_TYPE}, .statuses = {201, 409, 507})},
    {"POST", "/v1/scavenge", handle_scavenge, HTTP_JSON | HTTP_BLOCKING, 1024,
     ABOUT(.operation = "scavenge", .role = ROLE_OPERATOR,
           .summary = "Take away the bodies of events that are past their retention and that nobody handles",
           .parameters = {"dry_run: 1 tells what would go, and does nothing",
                          "compact: 1 writes the states of tags that deciders need, so that their events go too"}, .answer = "Scavenge",
           .types = {JSON_TYPE}, .statuses = {202, 409, 422})},
    {"GET", "/v1/scavenge", handle_scavenge_state, 0,
     ABOUT(.operation = "scavengeState", .role = ROLE_READER,
           .summary = "How the scavenge under way stands, or how the last one ended", .answer = "Scavenge",
           .types = {JSON_TYPE}, .statuses = {200})},
    {"GET", "/v1/events", handle_events_read, HTTP_LARGE,
     ABOUT(.operation = "readEvents", .role = ROLE_READER,
           .summary = "Read the journal, filtered, or subscribe to it",
           .parameters = {"type: types, comma between them; any of them; a comma of a type is %2C", "tag: a tag; all that are given",
                          PREFIX_PARAMETER, BOUND_PARAMETERS},
           .answer = "EventPage", .types = EVENT_TYPES, .statuses = {200, 406, 409, 429})},
    {"POST", "/v1/events/query", handle_events_query, HTTP_JSON | HTTP_LARGE, QUERY_BODY_SIZE_MAX,
     ABOUT(.operation = "queryEvents", .role = ROLE_READER, .summary = "Read the journal by a whole query",
           .parameters = {PREFIX_PARAMETER, BOUND_PARAMETERS}, .body = "Query", .answer = "EventPage",
           .types = EVENT_TYPES, .statuses = {200, 406, 409, 422, 429})},
    {"POST", "/v1/commands/{name}", handle_command, HTTP_JSON, COMMAND_BODY_SIZE_MAX,
     ABOUT(.operation = "command", .role = ROLE_WRITER,
           .summary = "Let the application decide a command; Idempotency-Key makes it safe to repeat",
           .body = "Command", .answer = "Decided", .types = {JSON_TYPE},
           .statuses = {201, 200, 404, 409, 422, 507})},
    {"GET", "/v1/views", handle_views, HTTP_LARGE,
     ABOUT(.operation = "listViews", .role = ROLE_READER,
           .summary = "How the views stand, and which queries there are", .answer = "Views",
           .types = {JSON_TYPE}, .statuses = {200})},
    {"GET", "/v1/views/{view}", handle_view, HTTP_LARGE,
     ABOUT(.operation = "readView", .role = ROLE_READER,
           .summary =
               "Rows of a view, by PostgREST's grammar: column=eq.x, order, limit, offset, select, and, or",
           .parameters = {VIEW_PARAMETERS}, .any_parameter = true, .answer = "Rows", .types = ROW_TYPES,
           .statuses = {200, 206, 404, 406, 409, 416, 422, 429})},
    {"POST", "/v1/views/{view}/rebuild", handle_rebuild, HTTP_JSON, 1024,
     ABOUT(.operation = "rebuildView", .role = ROLE_OPERATOR,
           .summary = "Build a view anew beside the old one, then swap", .answer = "Rebuilding",
           .types = {JSON_TYPE}, .statuses = {202, 404})},
    {"GET", "/v1/queries/{name}", handle_query, HTTP_LARGE,
     ABOUT(.operation = "runQuery", .role = ROLE_READER, .summary = "Rows of a named query",
           .parameters = {VIEW_PARAMETERS}, .any_parameter = true, .answer = "Rows", .types = ROW_TYPES,
           .statuses = {200, 206, 404, 406, 409, 416, 422, 429})},
    {"GET", "/v1/log", handle_log, HTTP_BLOCKING,
     ABOUT(.operation = "readLog", .role = ROLE_READER,
           .summary = "The log's records verbatim, then live: for a follower",
           .parameters = {"after: position, exclusive"}, .types = {WIRE_MEDIA_TYPE},
           .statuses = {200, 409, 429})},
    {"GET", "/v1/keys", handle_keys, HTTP_BLOCKING | HTTP_LARGE,
     ABOUT(.operation = "readKeys", .role = ROLE_OPERATOR,
           .summary = "The keys that data about persons is sealed with: for a follower",
           .parameters = {"after: slots before this one are passed over; where the last answer said to go on"},
           .types = {KEY_COPY_MEDIA_TYPE}, .statuses = {200})},
    {"GET", "/v1/checkpoint", handle_checkpoint, HTTP_BLOCKING,
     ABOUT(.operation = "checkpoint", .role = ROLE_READER,
           .summary = "How far the journal is, signed: a note for an auditor to keep", .types = {"text/plain"},
           .statuses = {200, 404})},
    {"GET", "/v1/checkpoint/key", handle_checkpoint_key, 0,
     ABOUT(.operation = "checkpointKey", .role = ROLE_READER, .summary = "The public key of those signatures",
           .types = {"text/plain"}, .statuses = {200, 404})},
    {"GET", "/v1/groups", handle_groups, HTTP_BLOCKING | HTTP_LARGE,
     ABOUT(.operation = "listGroups", .role = ROLE_READER, .summary = "How the consumer groups stand",
           .answer = "Groups", .types = {JSON_TYPE}, .statuses = {200})},
    {"GET", "/v1/groups/{group}", handle_group_status, HTTP_BLOCKING,
     ABOUT(.operation = "readGroup", .role = ROLE_READER, .summary = "How a consumer group stands",
           .answer = "Group", .types = {JSON_TYPE}, .statuses = {200, 404})},
    {"POST", "/v1/groups/{group}", handle_group_create, HTTP_JSON | HTTP_BLOCKING, GROUP_BODY_SIZE_MAX,
     ABOUT(.operation = "createGroup", .role = ROLE_OPERATOR,
           .summary = "Make a consumer group; 200 when it is there with these very rules",
           .body = "GroupDefinition", .answer = "Group", .types = {JSON_TYPE},
           .statuses = {201, 200, 409, 422, 507})},
    {"DELETE", "/v1/groups/{group}", handle_group_delete, HTTP_BLOCKING,
     ABOUT(.operation = "deleteGroup", .role = ROLE_OPERATOR, .summary = "Delete a consumer group",
           .statuses = {204, 404, 507})},
    {"POST", "/v1/groups/{group}/fetch", handle_group_fetch, HTTP_JSON, GROUP_BODY_SIZE_MAX,
     ABOUT(.operation = "fetchFromGroup", .role = ROLE_WRITER,
           .summary = "Fetch a batch as a consumer, waiting for it if need be", .body = "GroupFetch",
           .answer = "GroupBatch", .types = {JSON_TYPE}, .statuses = {200, 404, 422, 429})},
    {"POST", "/v1/groups/{group}/ack", handle_group_ack, HTTP_JSON | HTTP_BLOCKING, GROUP_BODY_SIZE_MAX,
     ABOUT(.operation = "ackInGroup", .role = ROLE_WRITER, .summary = "Acknowledge events: they are done",
           .body = "GroupTokens", .answer = "GroupDone", .types = {JSON_TYPE},
           .statuses = {200, 404, 409, 422})},
    {"POST", "/v1/groups/{group}/nack", handle_group_nack, HTTP_JSON | HTTP_BLOCKING, GROUP_BODY_SIZE_MAX,
     ABOUT(.operation = "nackInGroup", .role = ROLE_WRITER,
           .summary = "Give events back: they are delivered again, or parked after tries_max tries",
           .body = "GroupNack", .answer = "GroupDone", .types = {JSON_TYPE},
           .statuses = {200, 404, 409, 422})},
    {"POST", "/v1/groups/{group}/extend", handle_group_extend, HTTP_JSON | HTTP_BLOCKING, GROUP_BODY_SIZE_MAX,
     ABOUT(.operation = "extendInGroup", .role = ROLE_WRITER, .summary = "Ask for more time with events",
           .body = "GroupExtend", .answer = "GroupDone", .types = {JSON_TYPE},
           .statuses = {200, 404, 409, 422})},
    {"GET", "/v1/groups/{group}/parked", handle_group_parked, HTTP_BLOCKING | HTTP_LARGE,
     ABOUT(.operation = "readParked", .role = ROLE_READER,
           .summary = "Events that failed too often, each with its reason",
           .parameters = {"after: position, exclusive", "limit: 1 to 1000, 100 unless said"},
           .answer = "GroupParked", .types = {JSON_TYPE}, .statuses = {200, 404})},
    {"POST", "/v1/groups/{group}/replay", handle_group_replay, HTTP_JSON | HTTP_BLOCKING,
     GROUP_BODY_SIZE_MAX,
     ABOUT(.operation = "replayParked", .role = ROLE_OPERATOR,
           .summary = "Deliver parked events again, these or all", .body = "GroupReplay",
           .answer = "GroupDone", .types = {JSON_TYPE}, .statuses = {200, 404, 409, 422, 507})},
    {"GET", "/dcb/read", handle_dcb_read, HTTP_LARGE,
     ABOUT(.operation = "dcbRead", .role = ROLE_READER,
           .summary = "Read in the dialect of the dcb.events compliance suite",
           .parameters = {"query: JSON, items of types and tags; everything unless said",
                          "options: JSON, from (inclusive), backwards, limit"},
           .answer = "DcbEvents", .types = {JSON_TYPE}, .statuses = {200, 422})},
    {"POST", "/dcb/append", handle_dcb_append, HTTP_JSON | HTTP_BLOCKING,
     ABOUT(.operation = "dcbAppend", .role = ROLE_WRITER,
           .summary = "Append in that dialect: a failed condition is an answer and no error",
           .body = "Append", .answer = "DcbAppended", .types = {JSON_TYPE}, .statuses = {200, 422, 507})},
    {"GET", "/v1/auth", handle_auth, HTTP_PUBLIC, /* it asks for the token by itself, and says more */
     ABOUT(.operation = "authorize", .role = ROLE_READER,
           .summary = "For a gateway's auth_request: whether this token is good, for a role if one is named; "
                      "Daybook-Roles says for which it is",
           .parameters = {"role: reader, writer or operator; X-Required-Role says the same"},
           .statuses = {204, 403})},
    {"GET", "/health", handle_health, HTTP_ANY_HOST | HTTP_PUBLIC,
     ABOUT(.operation = "health", .summary = "Alive", .answer = "Health", .types = {JSON_TYPE},
           .statuses = {200})},
    {"GET", "/ready", handle_ready, HTTP_ANY_HOST | HTTP_PUBLIC,
     ABOUT(.operation = "ready", .summary = "Fit to be asked: journal, views, follower", .answer = "Ready",
           .types = {JSON_TYPE}, .statuses = {200})},
    {"GET", "/metrics", handle_metrics, HTTP_ANY_HOST,
     ABOUT(.operation = "metrics", .role = ROLE_READER, .summary = "Figures, as text of Prometheus or OpenMetrics",
           .types = {"text/plain", "application/openmetrics-text"}, .statuses = {200})},
    {"GET", "/openapi.json", handle_openapi, HTTP_LARGE,
     ABOUT(.operation = "openapi", .role = ROLE_READER, .summary = "This description", .types = {JSON_TYPE},
           .statuses = {200})},
};

const struct http_route *server_routes(size_t *ret_count)
{
    *ret_count = sizeof(routes) / sizeof(routes[0]);
    return routes;
}

static bool parameter_is_known(const struct route_about *about, struct bytes name)
{
    for (size_t i = 0; i < ROUTE_PARAMETER_COUNT_MAX && about->parameters[i]; i++) {
        if (name.size == strcspn(about->parameters[i], ":") &&
            memcmp(name.data, about->parameters[i], name.size) == 0)
            return true;
    }
    return about->any_parameter;
}

bool parameters_refused(struct http_request *request)
{
    const struct route_about *about = http_request_route(request)->data;
    const struct http_parameter *parameters;
    size_t count = http_request_parameters(request, &parameters);
    char name[65];

    for (size_t i = 0; i < count; i++) {
        if (parameter_is_known(about, parameters[i].name))
            continue;
        snprintf(name, sizeof(name), "%.*s",
                 BYTES_PRINT(bytes_slice(parameters[i].name, 0, sizeof(name) - 1)));
        answer_parameter(request, name, "is not a parameter of this path");
        return true;
    }
    return false;
}
