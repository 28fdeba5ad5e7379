/* GET /openapi.json: OpenAPI 3.1, made from the table of routes; the schemas are below. */

#include <stdio.h>
#include <string.h>

#include "server/internal.h"

/* ---- schemas ---- */

#define REF(name) "{\"$ref\":\"#/components/schemas/" name "\"}"
#define NUMBER    "{\"type\":\"integer\",\"minimum\":0}"
#define TEXT      "{\"type\":\"string\"}"
#define BOOL      "{\"type\":\"boolean\"}"
#define ANY       "{}"
#define LIST(of)  "{\"type\":\"array\",\"items\":" of "}"
#define MAP(of)   "{\"type\":\"object\",\"additionalProperties\":" of "}"
#define OBJECT(required, properties)                                                                         \
    "{\"type\":\"object\",\"required\":[" required "],\"properties\":{" properties "}}"

static const struct {
    const char *name, *schema;
} schemas[] = {
    {"Problem", OBJECT("\"type\",\"title\",\"status\",\"code\"",
                       "\"type\":" TEXT ",\"title\":" TEXT ",\"status\":" NUMBER ",\"detail\":" TEXT
                       ",\"instance\":" TEXT ",\"code\":" TEXT ",\"violations\":" LIST(
                           OBJECT("\"pointer\",\"detail\"",
                                  "\"pointer\":" TEXT ",\"detail\":" TEXT)) ",\"conflicts\":" LIST(ANY))},
    {"Event",
     OBJECT("\"position\",\"type\",\"id\",\"time\",\"tags\"",
            "\"position\":" NUMBER ",\"stream\":" TEXT ",\"version\":" NUMBER ",\"type\":" TEXT
            ",\"id\":{\"type\":\"string\",\"format\":\"uuid\"},\"time\":{\"type\":\"string\",\"format\":"
            "\"date-time\"}"
            ",\"tags\":" LIST(TEXT) ",\"data\":" ANY ",\"data_base64\":" TEXT ",\"content_type\":" TEXT
                                    ",\"meta\":{\"type\":\"object\"},\"subject\":" TEXT ",\"stub\":" BOOL
                                    ",\"erased\":" BOOL ",\"sealed\":" BOOL)},
    {"NewEvent", OBJECT("\"type\"", "\"type\":" TEXT ",\"data\":" ANY ",\"data_base64\":" TEXT
                                    ",\"content_type\":" TEXT ",\"stream\":" TEXT
                                    ",\"id\":{\"type\":\"string\",\"format\":\"uuid\"},\"tags\":" LIST(
                                        TEXT) ",\"subject\":" TEXT ",\"meta\":{\"type\":\"object\"}")},
    {"Followers",
     OBJECT("\"connected\",\"list\"",
            "\"connected\":" NUMBER ",\"list\":" LIST(
                OBJECT("\"address\",\"sent\",\"fence_sent\"",
                       "\"address\":" TEXT ",\"sent\":" NUMBER ",\"fence_sent\":" BOOL)))},
    {"Erased",
     OBJECT("\"position\",\"again\",\"complete\",\"keys\",\"events\",\"views\",\"dropped\",\"followers\","
            "\"not_reached\"",
            "\"position\":" NUMBER ",\"time\":" TEXT ",\"again\":" BOOL ",\"complete\":" BOOL
            ",\"keys\":" LIST(TEXT) ",\"events\":" NUMBER ",\"views\":" LIST(
                OBJECT("\"name\",\"generation\",\"state\"",
                       "\"name\":" TEXT ",\"generation\":" NUMBER ",\"state\":" TEXT ",\"detail\":" TEXT))
            ",\"dropped\":" LIST(TEXT) ",\"followers\":" REF("Followers") ",\"not_reached\":" LIST(TEXT))},
    {"Query",
     OBJECT("\"items\"", "\"items\":" LIST(OBJECT("", "\"types\":" LIST(TEXT) ",\"tags\":" LIST(TEXT))))},
    {"Append", OBJECT("\"events\"", "\"events\":" LIST(REF("NewEvent")) ",\"condition\":" OBJECT(
                                        "\"failIfEventsMatch\"",
                                        "\"failIfEventsMatch\":" REF(
                                            "Query") ",\"after\":" NUMBER) ",\"streams\":" MAP(ANY))},
    {"AppendRequest",
     "{\"oneOf\":[" REF("Append") "," OBJECT("\"appends\"", "\"appends\":" LIST(REF("Append"))) "]}"},
    {"StreamEvents", "{\"oneOf\":[" REF("NewEvent") "," LIST(REF("NewEvent")) "]}"},
    {"Appended", "{\"oneOf\":[" OBJECT(
                     "\"first\",\"last\",\"replayed\",\"streams\"",
                     "\"first\":" NUMBER ",\"last\":" NUMBER ",\"replayed\":" BOOL
                     ",\"streams\":" MAP(NUMBER)) "," OBJECT("\"results\"", "\"results\":" LIST(ANY)) "]}"},
    {"EventPage", OBJECT("\"events\",\"after\",\"head\",\"more\"",
                         "\"events\":" LIST(REF("Event")) ",\"after\":" NUMBER ",\"before\":" NUMBER
                                                          ",\"head\":" NUMBER ",\"more\":" BOOL)},
    {"StreamPage",
     OBJECT("\"events\"", "\"events\":" LIST(REF("Event")) ",\"version\":" NUMBER ",\"head\":" NUMBER)},
    {"DcbEvents",
     LIST(OBJECT("\"type\",\"tags\",\"data\",\"position\"",
                 "\"type\":" TEXT ",\"tags\":" LIST(TEXT) ",\"data\":" ANY ",\"position\":" NUMBER))},
    {"DcbAppended", OBJECT("\"durationInMicroseconds\",\"appendConditionFailed\"",
                           "\"durationInMicroseconds\":" NUMBER ",\"appendConditionFailed\":" BOOL)},
    {"Command", "{\"type\":\"object\"}"},
    {"Decided", OBJECT("\"position\",\"events\",\"replayed\"",
                       "\"position\":" NUMBER ",\"events\":" LIST(ANY) ",\"replayed\":" BOOL)},
    {"Rows", LIST("{\"type\":\"object\"}")},
    {"Views", OBJECT("\"views\",\"queries\",\"head\"",
                     "\"views\":" LIST(ANY) ",\"queries\":" LIST(ANY) ",\"head\":" NUMBER)},
    {"Rebuilding", OBJECT("\"rebuilding\"", "\"rebuilding\":" BOOL)},
    {"Retention",
     OBJECT("", "\"max_age_s\":" NUMBER ",\"max_count\":" NUMBER ",\"truncate_before\":" NUMBER)},
    {"RetentionRule", OBJECT("\"rule\",\"position\"",
                             "\"rule\":{\"type\":\"object\"},\"position\":" NUMBER ",\"time\":" TEXT)},
    {"RetentionRules", OBJECT("\"rules\"", "\"rules\":" LIST(REF("RetentionRule")))},
    {"Compact", OBJECT("\"tag\"", "\"tag\":" TEXT ",\"data\":{\"type\":\"object\"}")},
    {"Compacted", OBJECT("\"position\"", "\"position\":" NUMBER)},
    {"Scavenge",
     OBJECT("\"state\",\"dry_run\",\"took_ms\",\"head\",\"examined\",\"considered\",\"gone\",\"young\",\"kept\","
            "\"reasons\",\"gone_already\",\"body_bytes\",\"room_bytes\"",
            "\"state\":" TEXT ",\"dry_run\":" BOOL ",\"compact\":" BOOL ",\"compacted\":" NUMBER ",\"took_ms\":" NUMBER ",\"head\":" NUMBER
            ",\"examined\":" NUMBER ",\"considered\":" NUMBER ",\"gone\":" NUMBER ",\"young\":" NUMBER
            ",\"kept\":" NUMBER ",\"reasons\":" MAP(NUMBER) ",\"gone_already\":" NUMBER
            ",\"body_bytes\":" NUMBER ",\"room_bytes\":" NUMBER ",\"detail\":" TEXT)},
    {"GroupDefinition", OBJECT("", "\"types\":" LIST(TEXT) ",\"tags\":" LIST(
                                       TEXT) ",\"prefix\":" TEXT ",\"after\":" ANY ",\"order\":" TEXT
                                             ",\"lease_seconds\":" NUMBER ",\"tries_max\":" NUMBER)},
    {"Group", OBJECT("\"group\",\"definition\",\"cursor\",\"lag\",\"in_flight\",\"parked\",\"consumers\"",
                     "\"group\":" TEXT ",\"definition\":" REF(
                         "GroupDefinition") ",\"cursor\":" NUMBER ",\"head\":" NUMBER ",\"lag\":" NUMBER
                                            ",\"in_flight\":" NUMBER ",\"parked\":" NUMBER ",\"stalled\":" TEXT
                                            ",\"waiting\":" NUMBER ",\"position\":" NUMBER ",\"tries\":" NUMBER
                                            ",\"consumer\":" TEXT
                                            ",\"consumers\":" LIST(OBJECT("\"consumer\",\"in_flight\"",
                                                                          "\"consumer\":" TEXT
                                                                          ",\"in_flight\":" NUMBER)))},
    {"Groups", OBJECT("\"groups\"", "\"groups\":" LIST(REF("Group")))},
    {"GroupFetch",
     OBJECT("\"consumer\"", "\"consumer\":" TEXT ",\"count\":" NUMBER ",\"wait_seconds\":" NUMBER)},
    {"GroupBatch", OBJECT("\"events\",\"lease_seconds\"",
                          "\"events\":" LIST(OBJECT("\"token\",\"tries\",\"event\"",
                                                    "\"token\":" TEXT ",\"tries\":" NUMBER ",\"event\":" REF(
                                                        "Event"))) ",\"lease_seconds\":" NUMBER)},
    {"GroupTokens", OBJECT("\"tokens\"", "\"tokens\":" LIST(TEXT))},
    {"GroupNack",
     OBJECT("\"tokens\"", "\"tokens\":" LIST(TEXT) ",\"delay_seconds\":" NUMBER ",\"reason\":" TEXT
                          ",\"untried\":" BOOL)},
    {"GroupExtend", OBJECT("\"tokens\"", "\"tokens\":" LIST(TEXT) ",\"lease_seconds\":" NUMBER)},
    {"GroupReplay", OBJECT("", "\"positions\":" LIST(NUMBER))},
    {"GroupDone", OBJECT("\"done\"", "\"done\":" NUMBER ",\"parked\":" NUMBER)},
    {"GroupParked",
     OBJECT("\"parked\",\"more\"",
            "\"parked\":" LIST(
                OBJECT("\"position\",\"tries\",\"reason\",\"time\"",
                       "\"position\":" NUMBER ",\"tries\":" NUMBER ",\"reason\":" TEXT
                       ",\"time\":{\"type\":\"string\",\"format\":\"date-time\"}")) ",\"more\":" BOOL)},
    {"Health", OBJECT("\"status\"", "\"status\":" TEXT)},
    {"Ready", OBJECT("\"status\",\"journal\",\"views\"",
                     "\"status\":" TEXT ",\"journal\":{\"type\":\"object\"},\"views\":" LIST(ANY) ",\"groups\":" LIST(ANY))},
};

static void write_schemas(struct json_writer *w)
{
    json_write_key(w, "schemas");
    json_write_object_begin(w);
    for (size_t i = 0; i < sizeof(schemas) / sizeof(schemas[0]); i++)
        json_write_member_raw(w, schemas[i].name, bytes_from_string(schemas[i].schema));
    json_write_object_end(w);
}

static void write_ref(struct json_writer *w, const char *name)
{
    char ref[96];

    snprintf(ref, sizeof(ref), "#/components/schemas/%s", name);
    json_write_object_begin(w);
    json_write_member_string(w, "$ref", ref);
    json_write_object_end(w);
}

/* ---- one operation ---- */

static void write_parameter(struct json_writer *w, const char *where, struct bytes name, const char *what)
{
    json_write_object_begin(w);
    json_write_member_bytes(w, "name", name);
    json_write_member_string(w, "in", where);
    if (strcmp(where, "path") == 0)
        json_write_member_bool(w, "required", true);
    if (what)
        json_write_member_string(w, "description", what);
    json_write_member_raw(w, "schema", BYTES_LITERAL(TEXT));
    json_write_object_end(w);
}

static void write_parameters(struct json_writer *w, const struct http_route *route,
                             const struct route_about *about)
{
    json_write_key(w, "parameters");
    json_write_array_begin(w);
    for (const char *open = strchr(route->path, '{'); open; open = strchr(open + 1, '{'))
        write_parameter(w, "path", bytes_make(open + 1, strcspn(open + 1, "}")), NULL);
    for (size_t i = 0; i < ROUTE_PARAMETER_COUNT_MAX && about->parameters[i]; i++) {
        size_t size = strcspn(about->parameters[i], ":");
        write_parameter(w, "query", bytes_make(about->parameters[i], size), about->parameters[i] + size + 2);
    }
    if (about->any_parameter) {
        json_write_object_begin(w);
        json_write_member_string(w, "name", "columns");
        json_write_member_string(w, "in", "query");
        json_write_member_string(w, "description", "Columns of the view, or parameters of the query.");
        json_write_member_raw(w, "schema",
                              BYTES_LITERAL("{\"type\":\"object\",\"additionalProperties\":" TEXT "}"));
        json_write_member_string(w, "style", "form");
        json_write_member_bool(w, "explode", true);
        json_write_object_end(w);
    }
    json_write_array_end(w);
}

static void write_content(struct json_writer *w, const char *const *types, size_t count, const char *schema)
{
    json_write_key(w, "content");
    json_write_object_begin(w);
    for (size_t i = 0; i < count && types[i]; i++) {
        json_write_key(w, types[i]);
        json_write_object_begin(w);
        if (schema && strcmp(types[i], "application/json") == 0) {
            json_write_key(w, "schema");
            write_ref(w, schema);
        }
        json_write_object_end(w);
    }
    json_write_object_end(w);
}

static void write_response(struct json_writer *w, const struct route_about *about, unsigned status)
{
    char code[12];

    snprintf(code, sizeof(code), "%u", status);
    json_write_key(w, code);
    json_write_object_begin(w);
    json_write_member_string(w, "description", http_status_phrase(status));
    if (status < 300)
        write_content(w, about->types, 4, about->answer);
    else if (status >= 400)
        write_content(w, (const char *const[]){"application/problem+json"}, 1, NULL);
    json_write_object_end(w);
}

/* What any request may be answered: by http, or because the server is unwell. */
static const unsigned common_statuses[] = {400, 401, 403, 405, 408, 413, 414, 415, 417, 421, 431, 500, 503, 505};

static void write_responses(struct json_writer *w, const struct route_about *about)
{
    json_write_key(w, "responses");
    json_write_object_begin(w);
    for (size_t i = 0; i < ROUTE_STATUS_COUNT_MAX && about->statuses[i]; i++)
        write_response(w, about, about->statuses[i]);
    for (size_t i = 0; i < sizeof(common_statuses) / sizeof(common_statuses[0]); i++)
        write_response(w, about, common_statuses[i]);
    json_write_object_end(w);
}

/* Of a bearer token, the role it needs (OpenAPI 3.1 allows roles here); an empty list: anyone. */
static void write_security(struct json_writer *w, const struct route_about *about)
{
    json_write_key(w, "security");
    json_write_array_begin(w);
    if (about->role != ROLE_NONE) {
        json_write_object_begin(w);
        json_write_key(w, "bearer");
        json_write_array_begin(w);
        json_write_string(w, role_name(about->role));
        json_write_array_end(w);
        json_write_object_end(w);
    }
    json_write_array_end(w);
}

static void write_operation(struct json_writer *w, const struct http_route *route)
{
    const struct route_about *about = route->data;
    char method[16] = "";

    for (size_t i = 0; route->method[i] && i < sizeof(method) - 1; i++)
        method[i] = (char)(route->method[i] | 0x20); /* in small letters */
    json_write_key(w, method);
    json_write_object_begin(w);
    json_write_member_string(w, "operationId", about->operation);
    json_write_member_string(w, "summary", about->summary);
    write_parameters(w, route, about);
    if (about->body) {
        json_write_key(w, "requestBody");
        json_write_object_begin(w);
        json_write_member_bool(w, "required", true);
        write_content(w, (const char *const[]){"application/json"}, 1, about->body);
        json_write_object_end(w);
    }
    write_responses(w, about);
    write_security(w, about);
    json_write_object_end(w);
}

/* ---- the document ---- */

static void write_paths(struct json_writer *w)
{
    size_t count;
    const struct http_route *routes = server_routes(&count);
    const char *open = NULL; /* the path being written: its methods stand side by side in the table */

    json_write_key(w, "paths");
    json_write_object_begin(w);
    for (size_t i = 0; i < count; i++) {
        if (!open || strcmp(open, routes[i].path) != 0) {
            if (open)
                json_write_object_end(w);
            open = routes[i].path;
            json_write_key(w, open);
            json_write_object_begin(w);
        }
        write_operation(w, &routes[i]);
    }
    json_write_object_end(w);
    json_write_object_end(w);
}

void handle_openapi(struct http_request *request)
{
    struct buffer body = {0};
    struct json_writer w = json_writer(&body);

    json_write_object_begin(&w);
    json_write_member_string(&w, "openapi", "3.1.0");
    json_write_member_raw(&w, "info",
                          BYTES_LITERAL("{\"title\":\"daybook\",\"version\":\"1\",\"license\":{\"name\":"
                                        "\"Apache-2.0\",\"identifier\":\"Apache-2.0\"}}"));
    write_paths(&w);
    json_write_key(&w, "components");
    json_write_object_begin(&w);
    write_schemas(&w);
    json_write_member_raw(&w, "securitySchemes",
                          BYTES_LITERAL("{\"bearer\":{\"type\":\"http\",\"scheme\":\"bearer\"}}"));
    json_write_object_end(&w);
    json_write_object_end(&w);
    int r = json_write_end(&w);
    if (r < 0)
        answer_failure(request, r);
    else
        http_answer(request, 200, "application/json", &body);
    buffer_deinit(&body);
}
