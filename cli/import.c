/* daybook import: send a file of events or commands to a server, in order, each exactly once.
 *
 * Commands go one at a time, because the order decides what is refused. Events go many to a request, each as an append of
 * its own with an id, so that a request that is sent again replays instead of doubling. A line's id or key is its own, or made
 * from the import it belongs to, its number and its bytes (import_file.h): the same at every try, and no other line's.
 *
 * A line that was there already is not passed over in silence: under an id of its own it is counted as such; without one it was
 * stored by an earlier import whose note is lost, and the exit code is CLI_NO.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
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
#include "stop.h"

enum { BATCH_COUNT_MAX = 500, BATCH_SIZE_MAX = 512 * 1024 };

static bool restart;
static uint64_t patience_s = 60;
static const char *refused_name, *format = "ndjson", *batch_name;

static const struct cli_option options[] = {
    {"--patience", "SECONDS", "how long to wait for a server that is away (60)", CLI_NUMBER, &patience_s, 0,
     86400},
    {"--format", "NAME", "ndjson, or cloudevents: a batch of CloudEvents 1.0 (ndjson)", CLI_TEXT, &format, 0, 0},
    {"--refused", "FILE", "write each line that was refused and why here", CLI_TEXT, &refused_name, 0,
     0},
    {"--batch", "NAME", "the import's own name: under it each line is stored once, whatever file it comes from", CLI_TEXT,
     &batch_name, 0, 0},
    {"--restart", NULL, "begin anew, as an import of its own, whatever FILE.progress says", CLI_FLAG, &restart, 0, 0},
    {0},
};

/* What is to be told of a line when its answer comes. */
struct sent {
    uint64_t number;
    bool own_id;
};

struct import {
    struct client *client;
    struct import_file file;
    struct import_place taken; /* all before is sent, or in `batch` */
    struct progress progress;
    FILE *refused;
    struct buffer batch; /* {"appends":[… without the end */
    struct sent sent[BATCH_COUNT_MAX];
    uint64_t batch_count;
    bool answered; /* something was, since this import was resumed: replays are no longer those of the request in flight */
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
        return cli_error(CLI_FAILED, "%s", client_error(import->client));
    }
    return CLI_DONE;
}

static int refuse_line(struct import *import, struct bytes line, const struct client_answer *answer)
{
    import->file.counts.refused++;
    if (import->refused)
        fprintf(import->refused, "{\"line\":%" PRIu64 ",\"command\":%.*s,\"problem\":%.*s}\n",
                import->file.at.lines, BYTES_PRINT(line), BYTES_PRINT(buffer_bytes(&answer->body)));
    return CLI_DONE;
}

static bool is_rejected(const struct client_answer *answer)
{
    _cleanup_(json_doc_deinit) struct json_doc doc = {0};

    return answer->status == 422 && json_parse(buffer_bytes(&answer->body), &doc, NULL) == 0 &&
           json_string_equals(json_get(json_root(&doc), "code"), "rejected");
}

/* A line was accepted. Was it there before this import sent it? A request that was sent twice, or that an interrupted import may
 * have sent, finds its own. */
static void note_accepted(struct import *import, const struct client_answer *answer, struct json_value result, bool own_id)
{
    bool replayed = false;

    import->file.counts.accepted++;
    (void)!json_bool(json_get(result, "replayed"), &replayed);
    if (!replayed || answer->tries > 1 || (import->file.resumed && !import->answered))
        return;
    if (own_id || batch_name)
        import->file.counts.replayed++;
    else if (import->file.fresh)
        import->file.counts.before++;
}

/* What was answered is noted, after what is kept of it elsewhere. */
static int note_answered(struct import *import)
{
    import->answered = true;
    if (import->refused && fflush(import->refused) != 0)
        return cli_error(CLI_FAILED, "cannot write %s: %s", refused_name, strerror(errno));
    return import_file_note(&import->file, import->taken, false);
}

static int judge_command(struct import *import, struct bytes line, const struct client_answer *answer, bool own_key)
{
    _cleanup_(json_doc_deinit) struct json_doc doc = {0};

    if (answer->status / 100 == 2) {
        bool parsed = json_parse(buffer_bytes(&answer->body), &doc, NULL) == 0;
        note_accepted(import, answer, parsed ? json_root(&doc) : (struct json_value){0}, own_key);
        import->file.counts.position = answer->position;
        return CLI_DONE;
    }
    if (is_rejected(answer))
        return refuse_line(import, line, answer);
    progress_end(&import->progress);
    cli_error(CLI_NO, "%s:%" PRIu64 " was not taken:", import->file.name, import->file.at.lines);
    return client_print_problem(answer);
}

static int import_command(struct import *import, struct bytes line, struct json_value root,
                          const struct hash256 *id)
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
                        hex_encode(bytes_make(id->data, 16), &header));
    if (r != 0 || json_type(json_get(root, "data")) != JSON_OBJECT)
        return cli_error(
            CLI_NO, "%s:%" PRIu64 ": a command is {\"command\":NAME,\"data\":{…}} with an optional \"key\"",
            import->file.name, import->file.at.lines);
    int code = send_line(import, buffer_string(&path), buffer_string(&header),
                         json_raw(json_get(root, "data")), &answer);
    if (code != CLI_DONE)
        return code;
    code = judge_command(import, line, &answer, json_exists(key));
    client_answer_deinit(&answer);
    if (code == CLI_DONE)
        import->taken = import->file.at;
    return code == CLI_DONE ? note_answered(import) : code;
}

/* What a journal makes anew is left out; an id is added where there is none. */
static int add_event(struct import *import, struct json_value root, const struct hash256 *made)
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
        memcpy(uuid.data, made->data, sizeof uuid.data);
        uuid.data[6] =
            (uint8_t)(0x80 | (uuid.data[6] & 0x0f)); /* version 8 (RFC 9562 §5.8): made from a hash */
        uuid.data[8] = (uint8_t)(0x80 | (uuid.data[8] & 0x3f));
        uuid_format(uuid, id);
        json_write_member_string(&w, "id", id);
    }
    json_write_object_end(&w);
    import->sent[import->batch_count++] = (struct sent){.number = import->file.at.lines, .own_id = has_id};
    return json_write_end(&w) < 0 || buffer_append_string(&import->batch, "]}") < 0 ? -1 : 0;
}

/* Every result must be there: the first that is not is said, with its line. */
static int judge_events(struct import *import, const struct client_answer *answer)
{
    _cleanup_(json_doc_deinit) struct json_doc doc = {0};
    uint64_t index = 0, status = 0;

    if (answer->status != 200 || json_parse(buffer_bytes(&answer->body), &doc, NULL) != 0) {
        progress_end(&import->progress);
        return client_print_problem(answer);
    }
    struct json_cursor at = json_walk(json_get(json_root(&doc), "results"));
    for (; index < import->batch_count && json_next(&at); index++) {
        const struct sent *sent = &import->sent[index];
        if (json_exists(json_get(at.value, "last"))) {
            note_accepted(import, answer, at.value, sent->own_id);
            continue;
        }
        progress_end(&import->progress);
        (void)!json_u64(json_get(at.value, "status"), &status);
        return cli_error(CLI_NO, "%s:%" PRIu64 " was not taken (%" PRIu64 "): %.*s", import->file.name, sent->number, status,
                         BYTES_PRINT(json_raw(at.value)));
    }
    if (index < import->batch_count)
        return cli_error(CLI_FAILED, "the server answered for %" PRIu64 " of %" PRIu64 " events", index, import->batch_count);
    import->file.counts.position = answer->position;
    return CLI_DONE;
}

static int flush_events(struct import *import)
{
    struct client_answer answer;

    if (import->batch_count == 0)
        return CLI_DONE;
    int code = buffer_append_string(&import->batch, "]}") < 0
                   ? cli_error(CLI_FAILED, "no memory")
                   : send_line(import, "/v1/append", NULL, buffer_bytes(&import->batch), &answer);
    if (code == CLI_DONE) {
        code = judge_events(import, &answer);
        client_answer_deinit(&answer);
    }
    buffer_clear(&import->batch);
    import->batch_count = 0;
    return code == CLI_DONE ? note_answered(import) : code;
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
    import->taken = import->file.at;
    if (import->refused)
        fprintf(import->refused,
                "{\"line\":%" PRIu64 ",\"event\":%.*s,\"problem\":{\"title\":\"The event's data is gone.\"}}\n",
                import->file.at.lines, BYTES_PRINT(line));
    return CLI_DONE;
}

static int import_line(struct import *import, struct bytes line, const struct hash256 *id)
{
    _cleanup_(json_doc_deinit) struct json_doc doc = {0};
    struct json_error error;

    if (json_parse(line, &doc, &error) != 0)
        return cli_error(CLI_NO, "%s:%" PRIu64 ", byte %zu: %s", import->file.name, import->file.at.lines,
                         error.offset, error.reason);
    struct json_value root = json_root(&doc);
    if (json_exists(json_get(root, "command"))) {
        int code = flush_events(import);
        return code == CLI_DONE ? import_command(import, line, root, id) : code;
    }
    if (!json_exists(json_get(root, "type")))
        return cli_error(CLI_NO, "%s:%" PRIu64 " is neither an event (\"type\") nor a command (\"command\")",
                         import->file.name, import->file.at.lines);
    if (is_gone(root))
        return pass_over(import, line);
    if (add_event(import, root, id) < 0)
        return cli_error(CLI_FAILED, "no memory");
    import->taken = import->file.at;
    return import->batch_count >= BATCH_COUNT_MAX || import->batch.size >= BATCH_SIZE_MAX
               ? flush_events(import)
               : CLI_DONE;
}

/* A CloudEvent becomes the line that an export would have written. */
static int import_cloudevent(struct import *import, struct bytes event, const struct hash256 *id)
{
    _cleanup_(buffer_deinit) struct buffer line = {0};
    const char *reason;
    int r = cloudevents_to_line(event, &line, &reason);

    if (r < 0)
        return cli_error(CLI_FAILED, "no memory");
    if (r > 0)
        return cli_error(CLI_NO, "%s, event %" PRIu64 ": %s", import->file.name, import->file.at.lines, reason);
    return import_line(import, buffer_bytes(&line), id);
}

/* Whatever ends it, what was read before is sent first. */
static int import_all(struct import *import)
{
    struct bytes line;
    struct hash256 id;
    int code = CLI_DONE;
    int r = 0;

    import->taken = import->file.at;
    progress_begin(&import->progress, import->file.array ? "events" : "lines", import->file.at.lines, import->file.line_count);
    while (code == CLI_DONE && !stop_asked() && (r = import_file_next(&import->file, &line, &id)) > 0 && !stop_asked()) {
        code = import->file.array ? import_cloudevent(import, line, &id) : import_line(import, line, &id);
        progress_set(&import->progress, import->file.at.lines);
    }
    if (code == CLI_DONE && r < 0)
        code = -r;
    int flushed = flush_events(import);
    if (code == CLI_DONE)
        code = flushed;
    progress_end(&import->progress);
    if (code == CLI_DONE && stop_asked())
        code = cli_error(CLI_FAILED, "stopped");
    return code == CLI_DONE ? import_file_note(&import->file, import->taken, true) : code;
}

/* It was not done to the end: how much is, and what to do. */
static int say_done(const struct import *import, int code)
{
    const struct import_file *file = &import->file;
    const char *what = file->array ? "events" : "lines";

    if (file->progress_fd >= 0 || batch_name)
        return cli_error(code, "NOT ALL OF IT: %" PRIu64 " %s are done; the same call again goes on behind them", file->done.lines, what);
    return cli_error(code, "NOT ALL OF IT: %" PRIu64 " %s are done; send what comes behind them (--batch NAME would have made it safe to "
                           "send all again)", file->done.lines, what);
}

/* The exit code is CLI_NO where something was left out that nobody asked to leave out. */
static int print_counts(const struct import_file *file, bool earlier)
{
    const struct import_counts *counts = &file->counts;
    char a[32], b[32], c[32], d[32];
    uint64_t stored = counts->accepted - counts->replayed - counts->before;

    if (cli_json) {
        printf("{\"lines\":%" PRIu64 ",\"accepted\":%" PRIu64 ",\"stored\":%" PRIu64 ",\"refused\":%" PRIu64
               ",\"replayed\":%" PRIu64 ",\"before\":%" PRIu64 ",\"gone\":%" PRIu64 ",\"position\":%" PRIu64 ",\"earlier\":%s}\n",
               file->done.lines, counts->accepted, stored, counts->refused, counts->replayed, counts->before, counts->gone,
               counts->position, earlier ? "true" : "false");
    } else {
        printf("%s%s lines: %s accepted, %s refused", earlier ? "Already imported into this journal, nothing was sent: " : "",
               progress_number(file->done.lines, a), progress_number(stored, b), progress_number(counts->refused, c));
        if (counts->replayed)
            printf(", %s NOT stored, as their ids were there already", progress_number(counts->replayed, d));
        if (counts->before)
            printf(", %s NOT stored, as an earlier import of this file had them", progress_number(counts->before, d));
        if (counts->gone)
            printf("; %s passed over, whose data is gone", progress_number(counts->gone, d));
        printf("%s\n", earlier ? ". --restart imports it once more" : "");
    }
    return counts->before == 0 ? CLI_DONE
                               : cli_error(CLI_NO,
                                           "%" PRIu64 " lines without an id were stored by an earlier import of %s with this "
                                           "content; --restart stores them once more",
                                           counts->before, file->name);
}

/* Which journal is this, and how far? A read says so, also through a gateway that lets little else pass; one that a follower
 * answered does not say how far. */
static int find_journal(struct import *import, char journal[40], uint64_t *ret_head)
{
    struct client_request request = {.method = "GET",
                                     .path = "/v1/events?limit=1&direction=backward",
                                     .repeatable = true,
                                     .patience_ms = (uint32_t)(patience_s * 1000),
                                     .waits = true};
    struct client_answer answer;

    if (client_send(import->client, &request, &answer) < 0)
        return cli_error(CLI_FAILED, "%s", client_error(import->client));
    snprintf(journal, 40, "%s", answer.journal);
    *ret_head = answer.follower ? UINT64_MAX : answer.position;
    int code = answer.status == 200 ? CLI_DONE : client_print_problem(&answer);
    client_answer_deinit(&answer);
    if (code == CLI_DONE && !journal[0])
        return cli_error(CLI_FAILED, "%s answers, but is no daybook server", cli_url);
    return code;
}

static int import_opened(struct import *import)
{
    char journal[40];
    struct import_batch batch = {.name = batch_name, .journal = journal, .restart = restart};
    int code = find_journal(import, journal, &batch.head);

    if (code == CLI_DONE)
        code = import_file_begin(&import->file, &batch);
    if (code != CLI_DONE)
        return code;
    bool complete = import->file.complete;
    uint64_t before = import->file.at.lines;
    code = import_all(import);
    return code == CLI_DONE ? print_counts(&import->file, complete && import->taken.lines == before) : say_done(import, code);
}

static int run_with(struct import *import, const char *name, bool array)
{
    int code = import_file_open(&import->file, name, array); /* what is missing here is said before anybody waits for a server */

    if (code == CLI_DONE && refused_name && !(import->refused = fopen(refused_name, "ae")))
        code = cli_error(CLI_FAILED, "cannot write %s: %s", refused_name, strerror(errno));
    if (code == CLI_DONE && stop_catch() < 0)
        code = cli_error(CLI_FAILED, "cannot wait for signals: %s", strerror(errno));
    if (code == CLI_DONE)
        code = client_open(&import->client);
    if (code == CLI_DONE)
        code = import_opened(import);
    int r = import->refused ? output_file_close(import->refused) : 0;
    if (r < 0 && code == CLI_DONE)
        code = cli_error(CLI_FAILED, "cannot write %s: %s", refused_name, strerror(-r));
    import_file_close(&import->file);
    buffer_deinit(&import->batch);
    client_free(import->client);
    return code;
}

static int run(int argument_count, char **arguments)
{
    bool array = strcmp(format, "cloudevents") == 0;

    if (!array && strcmp(format, "ndjson") != 0)
        return cli_error(CLI_USAGE, "--format takes ndjson or cloudevents, not \"%s\"", format);
    if (restart && batch_name)
        return cli_error(CLI_USAGE, "--restart is an import of its own, and --batch names one: give another NAME");
    if (batch_name && batch_name[0] == '\0')
        return cli_error(CLI_USAGE, "--batch takes a name: what is empty would be one batch with every other import of no name");
    _cleanup_(freep) struct import *import = calloc(1, sizeof *import);
    return import ? run_with(import, arguments[0], array) : cli_error(CLI_FAILED, "no memory");
}

const struct cli_command cli_import = {
    .name = "import",
    .arguments = "FILE|-",
    .help = "send a file of events or commands, in order, each exactly once",
    .story = "A line is an event, as export writes it, or {\"command\":NAME,\"data\":{…},\"key\":…}. Refused "
             "commands are\n"
             "counted and passed over, and so, apart, are events whose data was scavenged or erased: an export is no backup.\n"
             "FILE.progress notes how far it is: after an interruption, or when the file has grown, the same call goes on. Another\n"
             "file under the same name is refused. Lines without an id are told apart by file and number: two equal ones are stored\n"
             "both, and so is a copy of the file under another name. While the server is away the import waits; SIGTERM ends it\n"
             "behind the request under way.\n\n"
             "  daybook import bookings.ndjson\n"
             "  generate | daybook import - --batch monday",
    .options = options,
    .argument_count_min = 1,
    .argument_count_max = 1,
    .run = run,
};
