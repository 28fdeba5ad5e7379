/* The events of one unit after another are put into a table in memory, and what the runs say of that unit is held against
 * it: every list in the table must be in the run, position by position, and when all units of a run have been seen, the
 * run must not hold more than they did. */

#include <stdlib.h>

#include "base/cleanup.h"
#include "journal/codec.h"
#include "journal/index_internal.h"
#include "journal/run_builder.h"
#include "journal/tools.h"
#include "journal/tools_internal.h"

struct verify {
    struct os_rwlock lock;
    struct log *log;
    struct index *index;
    uint64_t head;
    struct journal_index_report report;
    void (*on_damage)(void *user, const char *file, uint64_t position, const char *what);
    journal_tools_progress *on_progress;
    void *user;
    struct run *run; /* at hand */
    bool broken;     /* a fault of it has been told; what follows from it is not */
    uint64_t positions, places, streams_begun; /* of its units so far */
};

static void tell(struct verify *verify, uint64_t position, const char *what)
{
    char name[RUN_FILE_NAME_SIZE];
    if (verify->broken)
        return;
    verify->broken = true;
    verify->report.damage_count++;
    run_file_name(verify->run->header.first, verify->run->header.last, name);
    if (verify->on_damage)
        verify->on_damage(verify->user, name, position, what);
}

/* Damage is told; whatever else is wrong ends the check. */
static int judge(struct verify *verify, int r, uint64_t position)
{
    if (r == -EBADMSG) {
        tell(verify, position, "a block is damaged");
        return 0;
    }
    return r;
}

/* A list of the table against what the run says of the table's range. */
static int compare_list(struct verify *verify, const struct table *table, const struct posting *posting,
                        const struct run_postings *postings, const char *what)
{
    struct posting_cursor wanted;
    struct run_cursor found;
    uint64_t at = table->first - 1, next = 0;
    int r = 0;
    posting_cursor_init(&wanted, posting);
    run_cursor_init(&found, verify->run, postings);
    while (r == 0 && !verify->broken && at < table->last) {
        uint64_t expected = posting_next(&wanted, at + 1);
        r = run_cursor_next(&found, at + 1, &next);
        if (r == 0 && next > table->last)
            next = 0;
        if (r == 0 && next != expected)
            tell(verify, expected != 0 && (next == 0 || expected < next) ? expected : next, what);
        verify->positions += expected != 0;
        at = expected != 0 ? expected : table->last;
    }
    return judge(verify, r, at);
}

static int compare_terms(struct verify *verify, struct table *table)
{
    int r = 0;
    for (struct hashmap_cursor c = {0}; r == 0 && hashmap_next(&table->terms, &c);) {
        struct run_postings postings;
        r = judge(verify, run_find_term(verify->run, c.key.low, &postings), table->first);
        if (r == 0 && !verify->broken)
            r = compare_list(verify, table, (const struct posting *)(uintptr_t)*c.value, &postings,
                             "a type or tag does not lead to its events");
    }
    return r;
}

static int compare_stream(struct verify *verify, const struct table *table, uint64_t term,
                          const struct table_stream *stream)
{
    struct run_postings postings;
    struct bytes name = bytes_make(stream->name, stream->name_size);
    int r = judge(verify, run_find_stream(verify->run, term, name, &postings), table->first);
    if (r < 0 || verify->broken)
        return r;
    uint64_t version = stream->version - stream->posting.count + 1;
    if (postings.count == 0 || version < postings.version ||
        stream->version > postings.version + postings.count - 1)
        tell(verify, stream->posting.first, "a stream's versions are not those of the log");
    return compare_list(verify, table, &stream->posting, &postings, "a stream does not lead to its events");
}

static int compare_streams(struct verify *verify, struct table *table)
{
    int r = 0;
    for (struct hashmap_cursor c = {0}; r == 0 && hashmap_next(&table->streams, &c);) {
        const struct table_stream *stream = (const struct table_stream *)(uintptr_t)*c.value;
        for (; r == 0 && stream && !verify->broken; stream = stream->next)
            r = compare_stream(verify, table, c.key.low, stream);
    }
    return r;
}

static int compare_place(struct verify *verify, const struct place *place)
{
    uint64_t found = 0;
    int r = 0;
    for (uint32_t skip = 0; r == 0 && found != place->position; skip++) {
        r = run_find_place(verify->run, place->hash, skip, &found);
        if (r == 0 && found == 0)
            break;
    }
    if (r == 0 && found != place->position)
        tell(verify, place->position, "an id or key does not lead to its event");
    return judge(verify, r, place->position);
}

static int compare_places(struct verify *verify, const struct places *places)
{
    int r = 0;
    for (size_t i = 0; r == 0 && !verify->broken && i < places->capacity; i++)
        if (places->slots[i].position != 0) {
            r = compare_place(verify, &places->slots[i]);
            verify->places++;
        }
    return r;
}

static int compare_times(struct verify *verify, const struct table *table)
{
    int r = 0;
    for (size_t i = 0; r == 0 && !verify->broken && i < table->times.count; i++) {
        uint64_t position;
        r = judge(verify, run_find_time(verify->run, table->times.samples[i], &position), table->first);
        if (r == 0 && !verify->broken && position < table->times.first + i * TIMES_STEP)
            tell(verify, table->times.first + i * TIMES_STEP, "a time does not lead to its event");
    }
    return r;
}

static int compare_unit(struct verify *verify, struct table *table)
{
    int r = compare_terms(verify, table);
    if (r == 0)
        r = compare_streams(verify, table);
    if (r == 0)
        r = compare_places(verify, &table->ids);
    if (r == 0)
        r = compare_places(verify, &table->keys);
    if (r == 0)
        r = compare_times(verify, table);
    verify->streams_begun += table->streams_begun;
    return r;
}

/* ---- what a run holds in all ---- */

static int count_block(struct verify *verify, uint32_t number, uint64_t *positions)
{
    uint8_t block[RUN_BLOCK_SIZE];
    uint32_t count;
    int r = run_read_block(verify->run, RUN_TERMS, number, block, &count);
    struct bytes rest = bytes_make(block + RUN_BLOCK_HEAD_SIZE, RUN_PAYLOAD_SIZE);
    for (uint32_t i = 0; r == 0 && i < count; i++) {
        struct run_entry entry;
        r = run_entry_get(&rest, &entry);
        if (r == 0)
            *positions += entry.count;
    }
    return r;
}

static int count_positions(struct verify *verify, uint64_t *ret_positions)
{
    struct run *run = verify->run;
    uint64_t positions = 0;
    for (uint32_t guide = 0; guide < run->guide_blocks; guide++) {
        uint8_t guides[RUN_BLOCK_SIZE];
        uint32_t count;
        int r = run_read_block(run, RUN_GUIDES, run->header.guides + guide, guides, &count);
        for (uint32_t i = 0; r == 0 && i < count && i < RUN_GUIDES_PER_BLOCK; i++)
            r = count_block(verify, bytes_get_u32(guides + RUN_BLOCK_HEAD_SIZE + i * RUN_GUIDE_SIZE + 8), &positions);
        if (r < 0)
            return r;
    }
    *ret_positions = positions;
    return 0;
}

static int compare_sums(struct verify *verify)
{
    uint64_t positions = 0;
    int r = judge(verify, count_positions(verify, &positions), 0);
    if (r < 0 || verify->broken)
        return r;
    if (positions != verify->positions || verify->run->header.place_count != verify->places ||
        verify->run->header.streams_begun != verify->streams_begun)
        tell(verify, 0, "it holds more than the log");
    return 0;
}

/* ---- the walk ---- */

static int fill(struct table *table, const struct index *index, struct log_reader *reader)
{
    while (!table_is_full(table)) {
        struct log_record record;
        struct codec_tags tags;
        struct journal_event event;
        int r = log_reader_next(reader, &record);
        if (r == 0)
            r = codec_read(&record, &tags, &event, NULL);
        if (r == 0)
            r = table_add(table, &index->hash, &event);
        if (r != 0)
            return r < 0 ? r : -EBADMSG;
    }
    return 0;
}

static int verify_run(struct verify *verify, struct run *run, struct log_reader *reader)
{
    int r = 0;
    verify->run = run;
    verify->broken = false;
    verify->positions = verify->places = verify->streams_begun = 0;
    for (uint64_t first = run->header.first; r == 0 && first < run->header.last; first += verify->index->unit) {
        struct table *table;
        r = table_new(first, first + verify->index->unit - 1, &table);
        if (r < 0)
            return r;
        r = fill(table, verify->index, reader);
        if (r == 0 && !verify->broken)
            r = compare_unit(verify, table);
        table_unref(table);
        if (verify->on_progress)
            verify->on_progress(verify->user, first + verify->index->unit - 1, verify->head);
    }
    verify->report.runs++;
    verify->report.bytes += run_size(run);
    verify->report.events = verify->report.checkpoint = run->header.last;
    return r == 0 && !verify->broken ? compare_sums(verify) : r;
}

static int verify_runs(struct verify *verify)
{
    _cleanup_(log_reader_freep) struct log_reader *reader = NULL;
    struct parts *parts = index_parts(verify->index);
    int r = log_reader_new(verify->log, 0, &reader);
    for (size_t i = 0; r == 0 && i < parts->count; i++)
        if (parts->items[i].run)
            r = verify_run(verify, parts->items[i].run, reader);
    parts_unref(parts);
    return r > 0 ? -EIO : r;
}

/* Runs that the index begins without, because they or one before them cannot be used. */
static int tell_unused(struct verify *verify)
{
    _cleanup_(buffer_deinit) struct buffer names = {0};
    int r = verify->index->ops->list(verify->index->ops, verify->index->folder, &names);
    for (size_t offset = 0; r == 0 && offset < names.size;) {
        const char *name = (const char *)names.data + offset;
        uint64_t first, last;
        offset += strlen(name) + 1;
        if (!run_file_parse(name, &first, &last) || last <= verify->report.checkpoint)
            continue;
        verify->report.damage_count++;
        if (verify->on_damage)
            verify->on_damage(verify->user, name, first, "cannot be used: it, or one before it, is damaged or of another log");
    }
    return r == -ENOENT ? 0 : r;
}

int journal_verify_index(const char *data_folder, const struct journal_index_options *options,
                         void (*on_damage)(void *user, const char *file, uint64_t position, const char *what),
                         journal_tools_progress *on_progress, void *user, struct journal_index_report *ret_report,
                         char *ret_error)
{
    struct verify verify = {.on_damage = on_damage, .on_progress = on_progress, .user = user};
    char log_folder[OS_PATH_SIZE_MAX], folder[OS_PATH_SIZE_MAX];
    struct file_log_options log_options = {.file = options ? options->file : NULL, .read_only = true};
    struct log_status status;
    int r = tools_find_log(data_folder, log_folder);
    if (r == 0)
        r = tools_find_index(data_folder, folder);
    if (r < 0)
        return tools_fail(ret_error, r, "cannot use the path", data_folder);
    r = file_log_open(log_folder, &log_options, &verify.log, ret_error);
    if (r != 0)
        return r;
    log_status(verify.log, &status);
    verify.head = status.head;
    os_rwlock_init(&verify.lock);
    struct index_options wanted = {.file = options ? options->file : NULL,
                                   .folder = folder,
                                   .log = verify.log,
                                   .lock = &verify.lock,
                                   .unit = options ? options->unit : 0,
                                   .read_only = true};
    r = index_open(&wanted, &verify.index);
    if (r == 0)
        r = verify_runs(&verify);
    if (r == 0)
        r = tell_unused(&verify);
    index_free(verify.index);
    os_rwlock_deinit(&verify.lock);
    (void)log_close(verify.log);
    if (r < 0)
        return tools_fail(ret_error, r, "cannot check the index", folder);
    *ret_report = verify.report;
    return 0;
}
