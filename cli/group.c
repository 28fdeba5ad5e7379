/* daybook group: make, list, look at, replay and delete consumer groups. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "cli.h"
#include "client.h"
#include "output.h"

static const char *types, *tag, *prefix, *order, *from;
static uint64_t lease_seconds, tries_max;

static const struct cli_option options[] = {
    {"--type", "A,B", "create: only these types", CLI_TEXT, &types, 0, 0},
    {"--tag", "TAG", "create: only events with this tag", CLI_TEXT, &tag, 0, 0},
    {"--prefix", "TEXT", "create: only streams whose names begin so", CLI_TEXT, &prefix, 0, 0},
    {"--after", "P|now", "create: begin behind this position, or behind all there is", CLI_TEXT, &from, 0, 0},
    {"--order", "KEY", "create: none, stream or tag:PREFIX: what keeps its order", CLI_TEXT, &order, 0, 0},
    {"--lease", "SECONDS", "create: how long a consumer has an event", CLI_NUMBER, &lease_seconds, 1, 0},
    {"--tries", "N", "create: tries before an event is parked", CLI_NUMBER, &tries_max, 1, 0},
    {0},
};

/* ---- what is asked ---- */

static void write_list(struct json_writer *w, const char *key, const char *text)
{
    json_write_key(w, key);
    json_write_array_begin(w);
    while (text && *text) {
        size_t size = strcspn(text, ",");
        json_write_bytes(w, bytes_make(text, size));
        text += size + (text[size] == ',');
    }
    json_write_array_end(w);
}

static void write_after(struct json_writer *w)
{
    uint64_t position;

    if (bytes_parse_u64(bytes_from_string(from), &position) == 0)
        json_write_member_u64(w, "after", position);
    else
        json_write_member_string(w, "after", from); /* "now", or what the server says is wrong */
}

static int write_definition(struct buffer *body)
{
    struct json_writer w = json_writer(body);

    json_write_object_begin(&w);
    write_list(&w, "types", types);
    json_write_key(&w, "tags");
    json_write_array_begin(&w);
    if (tag)
        json_write_string(&w, tag); /* a comma may be part of it */
    json_write_array_end(&w);
    if (prefix)
        json_write_member_string(&w, "prefix", prefix);
    if (from)
        write_after(&w);
    if (order)
        json_write_member_string(&w, "order", order);
    if (lease_seconds)
        json_write_member_u64(&w, "lease_seconds", lease_seconds);
    if (tries_max)
        json_write_member_u64(&w, "tries_max", tries_max);
    json_write_object_end(&w);
    return json_write_end(&w);
}

/* ---- what is answered ---- */

static uint64_t number(struct json_value object, const char *key)
{
    uint64_t found = 0;

    (void)!json_u64(json_get(object, key), &found);
    return found;
}

static void print_group(struct json_value group)
{
    _cleanup_(buffer_deinit) struct buffer name = {0};

    (void)!json_string(json_get(group, "group"), &name);
    printf("%-24.*s lag %-8" PRIu64 " in flight %-6" PRIu64 " parked %-6" PRIu64 " consumers %zu\n",
           BYTES_PRINT(buffer_bytes(&name)), number(group, "lag"), number(group, "in_flight"),
           number(group, "parked"), json_count(json_get(group, "consumers")));
}

static void print_parked(struct json_value parked)
{
    _cleanup_(buffer_deinit) struct buffer reason = {0};

    (void)!json_string(json_get(parked, "reason"), &reason);
    printf("  parked %" PRIu64 " after %" PRIu64 " tries: %.*s\n", number(parked, "position"),
           number(parked, "tries"), BYTES_PRINT(buffer_bytes(&reason)));
}

static void print_done(struct json_value answer)
{
    printf("%" PRIu64 " will be delivered again\n", number(answer, "done"));
}

static void print_each(struct json_value list, void (*print)(struct json_value value))
{
    struct json_cursor at = json_walk(list);

    while (json_next(&at))
        print(at.value);
}

/* An answer for a person; with --json as it came. */
static void print_answer(const struct client_answer *answer)
{
    _cleanup_(json_doc_deinit) struct json_doc doc = {0};
    struct bytes body = buffer_bytes(&answer->body);
    struct json_value root;

    if (body.size == 0)
        return;
    if (cli_json || json_parse(body, &doc, NULL) != 0) {
        output_text(body);
        return;
    }
    root = json_root(&doc);
    if (json_exists(json_get(root, "groups")))
        print_each(json_get(root, "groups"), print_group);
    else if (json_exists(json_get(root, "group")))
        print_group(root);
    else if (json_exists(json_get(root, "done")))
        print_done(root);
    else
        print_each(json_get(root, "parked"), print_parked);
}

/* ---- one order ---- */

static int send_order(struct client *client, const char *method, const char *path, const struct buffer *body)
{
    struct client_request request = {.method = method,
                                     .path = path,
                                     .headers = {"Content-Type: application/json"},
                                     .body = body ? buffer_bytes(body) : (struct bytes){0}};
    struct client_answer answer;
    int code = CLI_DONE;

    if (client_send(client, &request, &answer) < 0)
        return cli_error(CLI_FAILED, "%s", client_error(client));
    if (answer.status / 100 == 2)
        print_answer(&answer);
    else
        code = client_print_problem(&answer);
    client_answer_deinit(&answer);
    return code;
}

static const struct {
    const char *name, *method, *end;
    bool defines, named;
} orders[] = {
    {"create", "POST", "", true, true},
    {"list", "GET", "", false, false},
    {"show", "GET", "", false, true},
    {"delete", "DELETE", "", false, true},
    {"parked", "GET", "/parked?limit=1000", false, true},
    {"replay", "POST", "/replay", false, true},
};
enum { ORDER_COUNT = sizeof(orders) / sizeof(orders[0]) };

static int find_order(const char *name)
{
    int i = 0;

    while (i < ORDER_COUNT && strcmp(orders[i].name, name) != 0)
        i++;
    return i;
}

static int run_group(int argument_count, char **arguments)
{
    _cleanup_(client_freep) struct client *client = NULL;
    _cleanup_(buffer_deinit) struct buffer path = {0}, body = {0};
    int order_index = find_order(arguments[0]);

    if (order_index == ORDER_COUNT)
        return cli_error(CLI_USAGE, "\"%s\" is none of create, list, show, parked, replay and delete",
                         arguments[0]);
    if (orders[order_index].named != (argument_count == 2))
        return cli_error(CLI_USAGE, "it is: daybook group %s%s", arguments[0],
                         orders[order_index].named ? " NAME" : "");
    int r = buffer_append_string(&path, "/v1/groups");
    if (r == 0 && argument_count == 2)
        r = buffer_append_byte(&path, '/');
    if (r == 0 && argument_count == 2)
        r = client_escape(&path, arguments[1]);
    if (r == 0)
        r = buffer_append_string(&path, orders[order_index].end);
    if (r == 0)
        r = orders[order_index].defines ? write_definition(&body) : 0;
    if (r < 0)
        return cli_error(CLI_FAILED, "no memory");
    int code = client_open(&client);
    return code == CLI_DONE ? send_order(client, orders[order_index].method, buffer_string(&path), &body)
                            : code;
}

const struct cli_command cli_group = {
    .name = "group",
    .arguments = "create|show|parked|replay|delete NAME, or list",
    .help = "make and look after consumer groups",
    .story = "Events of a group are shared out among its consumers (daybook consume). Those that failed too "
             "often are\n"
             "parked with the reason until they are replayed.\n\n"
             "  daybook group create mails --type RoomBooked,ReservationCancelled --order tag:reservation:\n"
             "  daybook group list\n"
             "  daybook group replay mails",
    .options = options,
    .argument_count_min = 1,
    .argument_count_max = 2,
    .run = run_group,
};
