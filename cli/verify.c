/* daybook verify: read a whole data folder and say what is damaged, with file and offset, and whether it still contains what
 * was signed. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/hex.h"
#include "base/json.h"
#include "base/time.h"
#include "cli.h"
#include "journal/tools.h"
#include "os/clock.h"
#include "output.h"
#include "progress.h"

static const char *checkpoint_name, *public_key;

struct verify {
    const char *folder;
    struct progress progress;
    struct buffer damages; /* JSON */
    struct json_writer writer;
    uint64_t began_ns, ended_ns;
    struct journal_verify_report report;
    struct note_key key; /* the auditor's, when there is a checkpoint */
    struct signed_checkpoint checkpoint;
    struct journal_audit audit;
    struct journal_index_report index;
};

static void on_progress(void *user, uint64_t done, uint64_t total)
{
    struct verify *verify = user;

    verify->progress.total = total;
    progress_set(&verify->progress, done);
}

static void write_damage(struct json_writer *w, const struct file_log_damage *damage)
{
    json_write_object_begin(w);
    json_write_member_string(w, "file", damage->file);
    json_write_member_u64(w, "offset", damage->offset);
    json_write_member_u64(w, "position", damage->position);
    json_write_member_bool(w, "acknowledged", damage->acknowledged);
    json_write_member_string(w, "what", damage->what);
    json_write_object_end(w);
}

static void on_damage(void *user, const struct file_log_damage *damage)
{
    struct verify *verify = user;

    if (cli_json) {
        write_damage(&verify->writer, damage);
        return;
    }
    progress_end(&verify->progress);
    printf("%s at byte %" PRIu64 ": %s", damage->file, damage->offset, damage->what);
    if (damage->position > 0)
        printf(" (position %" PRIu64 ", %s)", damage->position,
               damage->acknowledged ? "acknowledged" : "above the durable floor: what a crash leaves");
    putchar('\n');
}

static void on_index_damage(void *user, const char *file, uint64_t position, const char *what)
{
    struct file_log_damage damage = {.position = position};

    snprintf(damage.file, sizeof damage.file, "index/%s", file);
    snprintf(damage.what, sizeof damage.what, "%s", what);
    if (cli_json)
        write_damage(&((struct verify *)user)->writer, &damage);
    else
        printf("%s: %s (position %" PRIu64 ")\n", damage.file, what, position);
}

/* ---- the report ---- */

static const char *verdict_name(enum journal_verdict verdict)
{
    static const char *const names[] = {
        [JOURNAL_CONTAINS] = "contained", [JOURNAL_DIFFERS] = "differs", [JOURNAL_TOO_SHORT] = "too-short"};

    return names[verdict];
}

static bool is_sound(const struct verify *verify)
{
    return verify->report.log.acknowledged_count == 0 && verify->index.damage_count == 0 &&
           verify->audit.verdict == JOURNAL_CONTAINS;
}

static uint64_t bytes_per_second(const struct verify *verify)
{
    uint64_t ms = (verify->ended_ns - verify->began_ns) / OS_NS_PER_MS;

    return verify->report.log.bytes * 1000 / (ms > 0 ? ms : 1);
}

static int write_chain(const struct verify *verify, struct buffer *chain)
{
    return hex_encode(bytes_make(verify->report.log.chain.bytes, LOG_CHAIN_SIZE), chain);
}

static void write_checkpoint(struct json_writer *w, const struct verify *verify)
{
    json_write_key(w, "checkpoint");
    json_write_object_begin(w);
    json_write_member_string(w, "origin", verify->checkpoint.origin);
    json_write_member_u64(w, "position", verify->checkpoint.position);
    json_write_member_string(w, "verdict", verdict_name(verify->audit.verdict));
    json_write_member_bool(w, "other_journal", verify->audit.other_journal);
    json_write_object_end(w);
}

static int print_json(struct verify *verify)
{
    _cleanup_(buffer_deinit) struct buffer out = {0};
    _cleanup_(buffer_deinit) struct buffer chain = {0};
    const struct journal_verify_report *report = &verify->report;
    struct json_writer w = json_writer(&out);

    json_write_array_end(&verify->writer);
    if (json_write_end(&verify->writer) < 0 || write_chain(verify, &chain) < 0)
        return cli_error(CLI_FAILED, "no memory");
    json_write_object_begin(&w);
    json_write_member_u64(&w, "head", report->log.head);
    json_write_member_u64(&w, "floor", report->log.floor);
    json_write_member_bytes(&w, "chain", buffer_bytes(&chain));
    json_write_member_u64(&w, "events", report->events);
    json_write_member_u64(&w, "appends", report->appends);
    json_write_member_u64(&w, "streams", report->streams);
    json_write_member_u64(&w, "records", report->log.records);
    json_write_member_u64(&w, "frames", report->log.frames);
    json_write_member_u64(&w, "segments", report->log.segments);
    json_write_member_u64(&w, "bytes", report->log.bytes);
    json_write_member_u64(&w, "bytes_per_second", bytes_per_second(verify));
    json_write_member_u64(&w, "damage_count", report->log.damage_count);
    json_write_member_u64(&w, "acknowledged_damage_count", report->log.acknowledged_count);
    json_write_member_u64(&w, "index_position", verify->index.checkpoint);
    json_write_member_u64(&w, "index_damage_count", verify->index.damage_count);
    json_write_member_raw(&w, "damages", buffer_bytes(&verify->damages));
    if (checkpoint_name)
        write_checkpoint(&w, verify);
    json_write_object_end(&w);
    if (json_write_end(&w) < 0)
        return cli_error(CLI_FAILED, "no memory");
    output_text(buffer_bytes(&out));
    return CLI_DONE;
}

static void row(const char *name, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A line of the page: a name, and what is to say about it. */
static void row(const char *name, const char *format, ...)
{
    va_list arguments;

    printf("  %-11s ", name);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
}

static void print_verdict(const struct verify *verify)
{
    size_t damages = verify->report.log.acknowledged_count;

    if (damages > 0)
        printf("%s is damaged in %zu place%s.\n", verify->folder, damages, damages == 1 ? "" : "s");
    else if (verify->audit.verdict != JOURNAL_CONTAINS)
        printf("%s is whole, but is not what was signed.\n", verify->folder);
    else if (verify->index.damage_count > 0)
        printf("%s is whole, but its index is not: `daybook index rebuild` makes it anew.\n", verify->folder);
    else if (verify->report.log.damage_count > 0)
        printf("%s is whole; what a crash left behind its end goes when it is next served.\n", verify->folder);
    else
        printf("%s is whole.\n", verify->folder);
}

static void print_checkpoint(const struct verify *verify)
{
    const struct signed_checkpoint *checkpoint = &verify->checkpoint;
    static const char *const sentences[] = {
        [JOURNAL_CONTAINS] = "contained: every record up to it is what was signed",
        [JOURNAL_DIFFERS] = "NOT contained: the records up to it are not those that were signed",
        [JOURNAL_TOO_SHORT] = "NOT contained: the journal ends before it"};
    char time[TIME_TEXT_SIZE] = "a time it does not say";

    if (checkpoint->time_us != 0)
        (void)!time_format(checkpoint->time_us, time);
    row("checkpoint", "position %" PRIu64 ", signed by %s at %s", checkpoint->position, checkpoint->origin, time);
    row("", "%s", sentences[verify->audit.verdict]);
    if (verify->audit.other_journal)
        row("", "it was signed by a journal with another id, as before a restore");
}

static int print_page(const struct verify *verify)
{
    _cleanup_(buffer_deinit) struct buffer chain = {0};
    const struct journal_verify_report *report = &verify->report;
    char a[32], b[32];

    if (write_chain(verify, &chain) < 0)
        return cli_error(CLI_FAILED, "no memory");
    print_verdict(verify);
    row("segments", "%s, %s bytes", progress_number(report->log.segments, a), progress_number(report->log.bytes, b));
    row("frames", "%s with %s records", progress_number(report->log.frames, a),
        progress_number(report->log.records, b));
    row("events", "%s in %s appends", progress_number(report->events, a), progress_number(report->appends, b));
    row("streams", "%s", progress_number(report->streams, a));
    row("head", "position %" PRIu64, report->log.head);
    row("floor", "position %" PRIu64 ": durable for certain up to here", report->log.floor);
    row("chain", "%s", buffer_string(&chain));
    if (verify->index.runs > 0 || verify->index.damage_count > 0)
        row("index", "up to position %" PRIu64 ", %s", verify->index.checkpoint,
            verify->index.damage_count == 0 ? "and agrees with the log" : "and DIFFERS from the log");
    else
        row("index", "not on the disk: made when it is next served");
    if (checkpoint_name)
        print_checkpoint(verify);
    row("read", "%s MB/s", progress_number(bytes_per_second(verify) / 1000000, a));
    return CLI_DONE;
}

/* ---- the checkpoint ---- */

/* --public-key is a key, or the name of a file that has one. */
static int read_key(struct verify *verify)
{
    char error[256] = "";

    if (!public_key)
        return cli_error(CLI_USAGE, "--checkpoint needs --public-key KEY: whoever made the key has it");
    if (note_key_parse(bytes_from_string(public_key), &verify->key) == 0)
        return CLI_DONE;
    int r = journal_key_read(public_key, &verify->key, error);
    return r == 0 ? CLI_DONE : cli_error(CLI_FAILED, "%s", error);
}

static int read_checkpoint(struct verify *verify)
{
    _cleanup_(buffer_deinit) struct buffer note = {.size_max = NOTE_SIZE_MAX * 4};
    const char *reason = "it is larger than 65536 bytes";
    int r = os_file_read_whole(os_file_real(), checkpoint_name, &note);

    if (r < 0 && r != -E2BIG)
        return cli_error(CLI_FAILED, "cannot read %s: %s", checkpoint_name, strerror(-r));
    if (r == 0)
        r = signed_checkpoint_open(buffer_bytes(&note), &verify->key, &verify->checkpoint, &reason);
    return r == 0 ? CLI_DONE : cli_error(CLI_NO, "%s cannot be trusted: %s", checkpoint_name, reason);
}

/* The index is derived; of a damaged log it cannot be right. */
static int look_at_index(struct verify *verify)
{
    char error[256] = "";

    if (verify->report.log.acknowledged_count > 0)
        return CLI_DONE;
    int r = journal_verify_index(verify->folder, NULL, on_index_damage, NULL, verify, &verify->index, error);
    return r == 0 ? CLI_DONE : cli_error(CLI_FAILED, "%s", error[0] ? error : "cannot read the index");
}

/* Of a folder that is damaged nothing more can be told. */
static int audit(struct verify *verify)
{
    char error[256] = "";

    if (!checkpoint_name || verify->report.log.acknowledged_count > 0)
        return CLI_DONE;
    int r = journal_audit(verify->folder, &verify->checkpoint, &verify->audit, error);
    return r == 0 ? CLI_DONE : cli_error(CLI_FAILED, "%s", error);
}

/* ---- */

static int read_all(struct verify *verify)
{
    char error[256] = "";

    verify->writer = json_writer(&verify->damages);
    json_write_array_begin(&verify->writer);
    progress_begin(&verify->progress, "bytes", 0, 0);
    verify->began_ns = os_monotonic_ns();
    int r = journal_verify(verify->folder, on_damage, on_progress, verify, &verify->report, error);
    verify->ended_ns = os_monotonic_ns();
    progress_end(&verify->progress);
    return r == 0 ? CLI_DONE : cli_error(CLI_FAILED, "%s", error[0] ? error : strerror(r < 0 ? -r : EIO));
}

static int verify_run(int argument_count, char **arguments)
{
    struct verify verify = {.folder = argument_count > 0 ? arguments[0] : "data"};
    int code = CLI_DONE;

    if (checkpoint_name)
        code = read_key(&verify);
    if (code == CLI_DONE && checkpoint_name)
        code = read_checkpoint(&verify);
    if (code == CLI_DONE)
        code = read_all(&verify);
    if (code == CLI_DONE)
        code = look_at_index(&verify);
    if (code == CLI_DONE)
        code = audit(&verify);
    if (code == CLI_DONE)
        code = cli_json ? print_json(&verify) : print_page(&verify);
    if (code == CLI_DONE && !is_sound(&verify))
        code = CLI_NO;
    buffer_deinit(&verify.damages);
    note_key_deinit(&verify.key);
    return code;
}

static const struct cli_option verify_options[] = {
    {"--checkpoint", "FILE", "also: does it still contain what this signed checkpoint says", CLI_TEXT, &checkpoint_name,
     0, 0},
    {"--public-key", "KEY", "with --checkpoint: whose signature counts; the key itself, or a file with it", CLI_TEXT,
     &public_key, 0, 0},
    {0},
};

const struct cli_command cli_verify = {
    .name = "verify",
    .arguments = "[DATA]",
    .help = "read a whole data folder and name what is damaged",
    .story = "Checks every checksum, the chain over all records, the rules of events, the keys and the index; changes nothing, and the\n"
             "server may go on meanwhile. Exit code 1 when there is damage, or when the journal is not what was signed.\n\n"
             "  daybook verify ./data --checkpoint march.note --public-key hotel.key.pub",
    .options = verify_options,
    .offline = true,
    .argument_count_max = 1,
    .run = verify_run,
};
