/* daybook import: send a file of events or commands to a server, in order, each exactly once.
 *
 * Commands go one at a time, because the order decides what is refused. Events go many to a request, each as an append of
 * its own with an id, so that a request that is sent again replays instead of doubling. A line's id or key is its own, or
 * made from a hash of the file up to it: the same at every try.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/hex.h"
#include "base/json.h"
#include "base/uuid.h"
#include "cli.h"
#include "client.h"
#include "import_file.h"
#include "journal/tools.h"
#include "output.h"
#include "progress.h"

enum { BATCH_COUNT_MAX = 500, BATCH_SIZE_MAX = 512 * 1024 };

static bool restart;
static uint64_t patience_s = 60;
static const char *refused_name, *format = "ndjson";

static const struct cli_option options[] = {
    {"--patience", "SECONDS", "how long to wait for a server that is away (60)", CLI_NUMBER, &patience_s, 0,
     86400},
    {"--format", "NAME", "ndjson, or cloudevents: a batch of CloudEvents 1.0 (ndjson)", CLI_TEXT, &format, 0, 0},
    {"--refused", "FILE", "write each line that was refused and why here", CLI_TEXT, &refused_name, 0,
     0},
    {"--restart", NULL, "begin anew, whatever FILE.progress says", CLI_FLAG, &restart, 0, 0},
    {0},
};

struct import {
    struct client *client;
    struct import_file file;
    struct progress progress;
    FILE *refused;
    struct buffer batch; /* {"appends":[… without the end */
    uint64_t batch_count;
};

/* Send, waiting for a server that is away. An exit code; CLI_DONE means that *ret_answer is the caller's. */
static int send_line(struct import *import, const char *path, const char *key_header, struct bytes body,
                     struct client_answer *ret_answer)
{
    struct client_request request = {.method = "POST",
                                     .path = path,
                                     .headers = {"Content-Type: application/json", key_header},
                                     .body = body,
                                     .repeatable = true,
                                     .patience_ms = (uint32_t)(patience_s * 1000)};

    if (client_send(import->client, &request, ret_answer) < 0) {
        progress_end(&import->progress);
        return cli_error(CLI_FAILED, "%s. %" PRIu64 " lines are done; the same call again goes on from there",
                         client_error(import->client), import->file.counts.lines - 1);
    }
    return CLI_DONE;
}

static int refuse_line(struct import *import, struct bytes line, const struct client_answer *answer)
{
    import->file.counts.refused++;
    if (import->refused)
        fprintf(import->refused, "{\"line\":%" PRIu64 ",\"command\":%.*s,\"problem\":%.*s}\n",
                import->file.counts.lines, BYTES_PRINT(line), BYTES_PRINT(buffer_bytes(&answer->body)));
    return CLI_DONE;
}

static bool is_rejected(const struct client_answer *answer)
{
    _cleanup_(json_doc_deinit) struct json_doc doc = {0};

    return answer->status == 422 && json_parse(buffer_bytes(&answer->body), &doc, NULL) == 0 &&
           json_string_equals(json_get(json_root(&doc), "code"), "rejected");
}

static void note_replay(struct import *import, const struct client_answer *answer)
{
    _cleanup_(json_doc_deinit) struct json_doc doc = {0};
    bool replayed = false;

    if (json_parse(buffer_bytes(&answer->body), &doc, NULL) == 0 &&
        json_bool(json_get(json_root(&doc), "replayed"), &replayed) == 0 && replayed)
        import->file.counts.replayed++;
}

static int judge_command(struct import *import, struct bytes line, const struct client_answer *answer)
{
    if (answer->status / 100 == 2) {
        import->file.counts.accepted++;
        import->file.counts.position = answer->position;
        note_replay(import, answer);
        return CLI_DONE;
    }
    if (is_rejected(answer))
        return refuse_line(import, line, answer);
    progress_end(&import->progress);
    cli_error(CLI_NO, "%s:%" PRIu64 " was not taken:", import->file.name, import->file.counts.lines);
    return client_print_problem(answer);
}

static int import_command(struct import *import, struct bytes line, struct json_value root,
                          const struct hash256 *seen)
{
    _cleanup_(buffer_deinit) struct buffer path = {0};
    _cleanup_(buffer_deinit) struct buffer header = {0};
    _cleanup_(buffer_deinit) struct buffer name = {0};
    struct client_answer answer;
    struct json_value key = json_get(root, "key");
    int r = json_string(json_get(root, "command"), &name);
    r = r ? r : buffer_append_string(&path, "/v1/commands/");
    r = r ? r : client_escape(&path, buffer_string(&name));
    r = r ? r : buffer_append_string(&header, "Idempotency-Key: ");
    if (r == 0 && json_exists(key))
        r = json_string(key, &header);
    else if (r == 0)
        r = error_first(buffer_append_string(&header, "import-"),
                        hex_encode(bytes_make(seen->data, 16), &header));
    if (r != 0 || json_type(json_get(root, "data")) != JSON_OBJECT)
        return cli_error(
            CLI_NO, "%s:%" PRIu64 ": a command is {\"command\":NAME,\"data\":{…}} with an optional \"key\"",
            import->file.name, import->file.counts.lines);
    int code = send_line(import, buffer_string(&path), buffer_string(&header),
                         json_raw(json_get(root, "data")), &answer);
    if (code != CLI_DONE)
        return code;
    code = judge_command(import, line, &answer);
    client_answer_deinit(&answer);
    return code == CLI_DONE ? import_file_note(&import->file, false) : code;
}

/* What a journal makes anew is left out; an id is added where there is none. */
static int add_event(struct import *import, struct json_value root, const struct hash256 *seen)
{
    struct json_writer w;
    struct json_cursor at = json_walk(root);
    bool has_id = false;
    char id[UUID_TEXT_SIZE];
    struct uuid uuid;

    if (buffer_append_string(&import->batch,
                             import->batch_count ? ",{\"events\":[" : "{\"appends\":[{\"events\":[") < 0)
        return -1;
    w = json_writer(&import->batch);
    json_write_object_begin(&w);
    while (json_next(&at)) {
        if (json_string_equals(at.key, "position") || json_string_equals(at.key, "version") ||
            json_string_equals(at.key, "time"))
            continue;
        has_id = has_id || json_string_equals(at.key, "id");
        struct bytes key = json_raw(at.key);
        json_write_key_bytes(&w, bytes_slice(key, 1, key.size - 2));
        json_write_raw(&w, json_raw(at.value));
    }
    if (!has_id) {
        memcpy(uuid.data, seen->data, sizeof uuid.data);
        uuid.data[6] =
            (uint8_t)(0x80 | (uuid.data[6] & 0x0f)); /* version 8 (RFC 9562 §5.8): made from a hash */
        uuid.data[8] = (uint8_t)(0x80 | (uuid.data[8] & 0x3f));
        uuid_format(uuid, id);
        json_write_member_string(&w, "id", id);
    }
    json_write_object_end(&w);
    import->batch_count++;
    return json_write_end(&w) < 0 || buffer_append_string(&import->batch, "]}") < 0 ? -1 : 0;
}

/* Every result must be there: the first that is not is said, with its line. */
static int judge_events(struct import *import, const struct client_answer *answer)
{
    _cleanup_(json_doc_deinit) struct json_doc doc = {0};
    uint64_t line = import->file.counts.lines - import->batch_count;
    uint64_t status;

    if (answer->status != 200 || json_parse(buffer_bytes(&answer->body), &doc, NULL) != 0) {
        progress_end(&import->progress);
        return client_print_problem(answer);
    }
    struct json_cursor at = json_walk(json_get(json_root(&doc), "results"));
    while (json_next(&at)) {
        bool replayed = false;
        line++;
        if (json_exists(json_get(at.value, "last"))) {
            import->file.counts.accepted++;
            if (json_bool(json_get(at.value, "replayed"), &replayed) == 0 && replayed)
                import->file.counts.replayed++;
            continue;
        }
        progress_end(&import->progress);
        status = 0;
        (void)!json_u64(json_get(at.value, "status"), &status);
        return cli_error(CLI_NO, "%s, about line %" PRIu64 ", was not taken (%" PRIu64 "): %.*s",
                         import->file.name, line, status, BYTES_PRINT(json_raw(at.value)));
    }
    import->file.counts.position = answer->position;
    return CLI_DONE;
}

static int flush_events(struct import *import)
{
    struct client_answer answer;

    if (import->batch_count == 0)
        return CLI_DONE;
    if (buffer_append_string(&import->batch, "]}") < 0)
        return cli_error(CLI_FAILED, "no memory");
    int code = send_line(import, "/v1/append", NULL, buffer_bytes(&import->batch), &answer);
    if (code != CLI_DONE)
        return code;
    code = judge_events(import, &answer);
    client_answer_deinit(&answer);
    buffer_clear(&import->batch);
    import->batch_count = 0;
    return code == CLI_DONE ? import_file_note(&import->file, false) : code;
}

/* The data was scavenged or erased, or cannot be read: there is nothing to take in, and no append makes a stub. An export is
 * no backup. Counted, and passed over. */
static bool is_gone(struct json_value event)
{
    bool gone = false;

    return (json_bool(json_get(event, "stub"), &gone) == 0 && gone) ||
           (json_bool(json_get(event, "erased"), &gone) == 0 && gone) ||
           (json_bool(json_get(event, "sealed"), &gone) == 0 && gone);
}

static int pass_over(struct import *import, struct bytes line)
{
    import->file.counts.gone++;
    if (import->refused)
        fprintf(import->refused,
                "{\"line\":%" PRIu64 ",\"event\":%.*s,\"problem\":{\"title\":\"The event's data is gone.\"}}\n",
                import->file.counts.lines, BYTES_PRINT(line));
    return CLI_DONE;
}

static int import_line(struct import *import, struct bytes line, const struct hash256 *seen)
{
    _cleanup_(json_doc_deinit) struct json_doc doc = {0};
    struct json_error error;

    if (json_parse(line, &doc, &error) != 0)
        return cli_error(CLI_NO, "%s:%" PRIu64 ", byte %zu: %s", import->file.name, import->file.counts.lines,
                         error.offset, error.reason);
    struct json_value root = json_root(&doc);
    if (json_exists(json_get(root, "command"))) {
        int code = flush_events(import);
        return code == CLI_DONE ? import_command(import, line, root, seen) : code;
    }
    if (!json_exists(json_get(root, "type")))
        return cli_error(CLI_NO, "%s:%" PRIu64 " is neither an event (\"type\") nor a command (\"command\")",
                         import->file.name, import->file.counts.lines);
    if (is_gone(root))
        return pass_over(import, line);
    if (add_event(import, root, seen) < 0)
        return cli_error(CLI_FAILED, "no memory");
    return import->batch_count >= BATCH_COUNT_MAX || import->batch.size >= BATCH_SIZE_MAX
               ? flush_events(import)
               : CLI_DONE;
}

/* A CloudEvent becomes the line that an export would have written. */
static int import_cloudevent(struct import *import, struct bytes event, const struct hash256 *seen)
{
    _cleanup_(buffer_deinit) struct buffer line = {0};
    const char *reason;
    int r = cloudevents_to_line(event, &line, &reason);

    if (r < 0)
        return cli_error(CLI_FAILED, "no memory");
    if (r > 0)
        return cli_error(CLI_NO, "%s, event %" PRIu64 ": %s", import->file.name, import->file.counts.lines, reason);
    return import_line(import, buffer_bytes(&line), seen);
}

static int import_all(struct import *import)
{
    struct bytes line;
    struct hash256 seen;
    int code = CLI_DONE;
    int r = 0;

    progress_begin(&import->progress, import->file.array ? "events" : "lines", import->file.counts.lines, import->file.line_count);
    while (code == CLI_DONE && (r = import_file_next(&import->file, &line, &seen)) > 0) {
        code = import->file.array ? import_cloudevent(import, line, &seen) : import_line(import, line, &seen);
        progress_set(&import->progress, import->file.counts.lines);
    }
    if (code == CLI_DONE)
        code = r < 0 ? -r : flush_events(import);
    progress_end(&import->progress);
    return code == CLI_DONE ? import_file_note(&import->file, true) : code;
}

static void print_counts(const struct import_file *file, bool earlier)
{
    const struct import_counts *counts = &file->counts;
    char a[32], b[32], c[32], d[32], e[32];

    if (cli_json) {
        printf("{\"lines\":%" PRIu64 ",\"accepted\":%" PRIu64 ",\"refused\":%" PRIu64 ",\"replayed\":%" PRIu64
               ",\"gone\":%" PRIu64 ",\"position\":%" PRIu64 ",\"earlier\":%s}\n",
               counts->lines, counts->accepted, counts->refused, counts->replayed, counts->gone, counts->position,
               earlier ? "true" : "false");
        return;
    }
    printf("%s%s lines: %s accepted, %s refused", earlier ? "Already imported into this journal: " : "",
           progress_number(counts->lines, a), progress_number(counts->accepted, b),
           progress_number(counts->refused, c));
    if (counts->replayed)
        printf(" (%s were there already)", progress_number(counts->replayed, d));
    if (counts->gone)
        printf("; %s passed over, whose data is gone", progress_number(counts->gone, e));
    printf("%s\n", earlier ? ". --restart does it again" : "");
}

/* Which journal is this? An answer's cursor is journal and position; /ready says the id. */
static int find_journal(struct import *import, char journal[40])
{
    struct client_request request = {
        .method = "GET", .path = "/health", .repeatable = true, .patience_ms = (uint32_t)(patience_s * 1000)};
    struct client_answer answer;

    if (client_send(import->client, &request, &answer) < 0)
        return cli_error(CLI_FAILED, "%s", client_error(import->client));
    snprintf(journal, 40, "%s", answer.journal);
    client_answer_deinit(&answer);
    if (!journal[0])
        return cli_error(CLI_FAILED, "%s answers, but is no daybook server", cli_url);
    return CLI_DONE;
}

static int run(int argument_count, char **arguments)
{
    struct import import = {.file.progress_fd = -1};
    char journal[40];
    bool batch = strcmp(format, "cloudevents") == 0;

    if (!batch && strcmp(format, "ndjson") != 0)
        return cli_error(CLI_USAGE, "--format takes ndjson or cloudevents, not \"%s\"", format);
    int code = client_open(&import.client);

    if (code == CLI_DONE)
        code = find_journal(&import, journal);
    if (code == CLI_DONE && refused_name && !(import.refused = fopen(refused_name, "ae")))
        code = cli_error(CLI_FAILED, "cannot write %s", refused_name);
    if (code == CLI_DONE)
        code = import_file_open(&import.file, arguments[0], journal, restart, batch);
    if (code == CLI_DONE) {
        bool earlier = import.file.complete;
        if (!earlier)
            code = import_all(&import);
        if (code == CLI_DONE)
            print_counts(&import.file, earlier);
    }
    int r = import.refused ? output_file_close(import.refused) : 0;
    if (r < 0)
        code = cli_error(CLI_FAILED, "cannot write %s: %s", refused_name, strerror(-r));
    import_file_close(&import.file);
    buffer_deinit(&import.batch);
    client_free(import.client);
    return code;
}

const struct cli_command cli_import = {
    .name = "import",
    .arguments = "FILE|-",
    .help = "send a file of events or commands, in order, each exactly once",
    .story = "A line is an event, as export writes it, or {\"command\":NAME,\"data\":{…},\"key\":…}. Refused "
             "commands are\n"
             "counted and passed over, and so, apart, are events whose data was scavenged or erased: an export is no backup.\n"
             "FILE.progress notes how far it is: after an interruption the same call goes on. While the server is away the\n"
             "import waits.\n\n"
             "  daybook import bookings.ndjson",
    .options = options,
    .argument_count_min = 1,
    .argument_count_max = 1,
    .run = run,
};
