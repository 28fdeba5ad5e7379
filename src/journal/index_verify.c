/* Log and run are each read once, from beginning to end, though the same facts stand in them in another order: by event
 * there, by term here. So every fact is hashed and added to a sum, one sum for each kind of fact and each unit of positions,
 * and the sums of both must be equal. Two different sets of facts have the same sum about once in 2^64 times. Memory is
 * three sums a unit, however long the run is.
 *
 * What leads to the facts is checked as the walk passes it: the order of entries and places, guides, tops, filters, and the
 * times, which stand in the order of the log. */

#include <stdlib.h>

#include "base/cleanup.h"
#include "journal/codec.h"
#include "journal/index_internal.h"
#include "journal/run_walk.h"
#include "journal/tools.h"
#include "journal/tools_internal.h"

struct sums {
    uint64_t terms, streams, places;
};

/* A filter, walked along with the keys of its section, which never fall. */
struct filter_walk {
    uint32_t first, end; /* blocks */
    uint32_t next;       /* to be read */
    uint8_t block[RUN_BLOCK_SIZE];
};

struct verify {
    struct os_rwlock lock;
    struct log *log;
    struct index *index;
    uint64_t head;
    struct journal_index_report report;
    void (*on_damage)(void *user, const char *file, uint64_t position, const char *what);
    journal_tools_progress *on_progress;
    void *user;
    struct codec_tags tags;

    struct run *run; /* at hand, and all that follows is of it */
    bool broken;     /* a fault of it has been told; what follows from it is not */
    size_t unit_count;
    struct sums *of_log, *of_run;
    struct run_header header; /* what the log says should stand there: not all of it */
    uint32_t time_block, time_at, time_count; /* of the samples: the next one */
    uint8_t times[RUN_BLOCK_SIZE];
    struct run_walk walk;
    struct run_cursor cursor;
    struct filter_walk filter;
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

/* ---- facts ---- */

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static uint64_t fact(uint64_t a, uint64_t b)
{
    return mix(a + mix(b + UINT64_C(0x9e3779b97f4a7c15)));
}

static uint64_t stream_fact(const struct verify *verify, uint64_t term, struct bytes name, uint64_t position,
                            uint64_t version)
{
    uint64_t whose = hash_sip128(name, verify->index->hash.key).high;
    return fact(fact(term, whose), fact(position, version));
}

static struct sums *sums_at(const struct verify *verify, struct sums *sums, uint64_t position)
{
    return &sums[(position - verify->run->header.first) / verify->index->unit];
}

/* ---- what the log says ---- */

/* Two terms of one event may share a hash; the position stands there once. */
static void add_terms(struct verify *verify, const struct journal_event *event, struct sums *sums)
{
    const struct table_hash *hash = &verify->index->hash;
    uint64_t terms[JOURNAL_TAG_COUNT_MAX + 1];
    size_t count = 0;
    terms[count++] = table_term(hash, 't', event->type);
    for (size_t i = 0; i < event->tag_count; i++) {
        uint64_t term = table_term(hash, 'g', event->tags[i]);
        size_t same = 0;
        while (same < count && terms[same] != term)
            same++;
        if (same == count)
            terms[count++] = term;
    }
    for (size_t i = 0; i < count; i++)
        sums->terms += fact(terms[i], event->position);
}

static void add_places(struct verify *verify, const struct journal_event *event, struct sums *sums)
{
    const struct table_hash *hash = &verify->index->hash;
    struct run_header *header = &verify->header;
    uint64_t ms;
    if (table_id_ms(event->id, &ms)) {
        header->id_ms_lowest = ms < header->id_ms_lowest ? ms : header->id_ms_lowest;
        header->id_ms_highest = ms > header->id_ms_highest ? ms : header->id_ms_highest;
    }
    sums->places += fact(table_term(hash, 'i', bytes_make(event->id, 16)), event->position);
    header->place_count++;
    if (event->key.size == 0 || event->position != event->append_first)
        return;
    sums->places += fact(table_term(hash, 'k', event->key), event->position);
    header->place_count++;
}

static void add_event(struct verify *verify, const struct journal_event *event)
{
    struct sums *sums = sums_at(verify, verify->of_log, event->position);
    add_terms(verify, event, sums);
    if (event->stream.size > 0) {
        uint64_t term = table_term(&verify->index->hash, 's', event->stream);
        sums->streams += stream_fact(verify, term, event->stream, event->position, event->version);
    }
    verify->header.streams_begun += event->stream.size > 0 && event->version == 1;
    add_places(verify, event, sums);
    verify->header.time_last_us = event->time_us;
}

/* The sample that stands in the run for this event. */
static int check_time(struct verify *verify, const struct journal_event *event)
{
    int r = 0;
    if (verify->time_at == verify->time_count && verify->time_block < verify->run->header.places) {
        r = run_read_block(verify->run, RUN_TIMES, verify->time_block++, verify->times, &verify->time_count);
        verify->time_at = 0;
    }
    if (r < 0)
        return judge(verify, r, event->position);
    if (verify->time_at >= verify->time_count || verify->time_at >= RUN_TIMES_PER_BLOCK ||
        (int64_t)bytes_get_u64(verify->times + RUN_BLOCK_HEAD_SIZE + 8 * (size_t)verify->time_at) != event->time_us)
        tell(verify, event->position, "a time does not lead to its event");
    verify->time_at++;
    return 0;
}

static int read_log(struct verify *verify, struct log_reader *reader)
{
    for (uint64_t position = verify->run->header.first; position <= verify->run->header.last; position++) {
        struct log_record record;
        struct journal_event event;
        int r = log_reader_next(reader, &record);
        if (r == 0)
            r = codec_read(&record, &verify->tags, &event, NULL);
        if (r != 0)
            return r < 0 ? r : -EBADMSG;
        add_event(verify, &event);
        if ((position - 1) % TIMES_STEP == 0 && !verify->broken)
            r = check_time(verify, &event);
        if (r < 0)
            return r;
        if (position % verify->index->unit == 0 && verify->on_progress)
            verify->on_progress(verify->user, position, verify->head);
    }
    return 0;
}

/* ---- what the run says ---- */

static void filter_begin(struct filter_walk *filter, uint32_t first, uint32_t end)
{
    filter->first = filter->next = first;
    filter->end = end;
}

static int filter_read_to(struct verify *verify, uint32_t block)
{
    struct filter_walk *filter = &verify->filter;
    uint32_t count;
    int r = 0;
    while (r == 0 && filter->next <= block && filter->next < filter->end)
        r = run_read_block(verify->run, RUN_FILTER, filter->next++, filter->block, &count);
    return r;
}

static int filter_check(struct verify *verify, uint64_t key)
{
    struct filter_walk *filter = &verify->filter;
    uint64_t line = run_filter_line(key, (uint64_t)(filter->end - filter->first) * RUN_LINES_PER_BLOCK);
    int r = filter_read_to(verify, filter->first + (uint32_t)(line / RUN_LINES_PER_BLOCK));
    if (r == 0 && !run_filter_has(filter->block + RUN_BLOCK_HEAD_SIZE + line % RUN_LINES_PER_BLOCK * RUN_LINE_SIZE, key))
        tell(verify, 0, "a filter hides what is there");
    return r;
}

static int add_positions(struct verify *verify)
{
    const struct run_header *header = &verify->run->header;
    const struct run_entry *entry = &verify->walk.entry;
    run_walk_cursor(&verify->walk, &verify->cursor);
    for (uint64_t index = 0; index < entry->count && !verify->broken; index++) {
        uint64_t position;
        int r = run_cursor_at(&verify->cursor, index, &position);
        if (r < 0)
            return r;
        if (position < header->first || position > header->last) {
            tell(verify, 0, "a position is not of the run");
            return 0;
        }
        struct sums *sums = sums_at(verify, verify->of_run, position);
        if (entry->is_stream)
            sums->streams += stream_fact(verify, entry->term, entry->name, position, entry->version + index);
        else
            sums->terms += fact(entry->term, position);
    }
    return 0;
}

/* An entry that is the first of its block is the one by which the block is found. */
static void check_guide(struct verify *verify)
{
    const struct run_walk *walk = &verify->walk;
    const uint8_t *guides = walk->guides + RUN_BLOCK_HEAD_SIZE;
    if (bytes_get_u64(guides + (size_t)(walk->guide_at - 1) * RUN_GUIDE_SIZE) != walk->entry.term ||
        bytes_get_u64(guides) != walk->run->tops[walk->guide - 1])
        tell(verify, 0, "a guide does not lead to its block");
}

static int check_entries(struct verify *verify)
{
    struct run_walk *walk = &verify->walk;
    const struct run_header *header = &verify->run->header;
    uint8_t name[RUN_NAME_SIZE_MAX];
    struct run_entry before = {0};
    uint32_t number = 0, count = 0;
    filter_begin(&verify->filter, header->term_filter, header->place_filter);
    int r = run_walk_next_entry(walk);
    for (; r == 0 && walk->has_entry && !verify->broken; count++) {
        const struct run_entry *entry = &walk->entry;
        if (count > 0 && run_entry_compare(&before, entry) >= 0)
            tell(verify, 0, "its entries are out of order");
        if (walk->number != number)
            check_guide(verify);
        number = walk->number;
        before = *entry;
        if (entry->name.size > 0)
            memcpy(name, entry->name.data, entry->name.size);
        before.name = bytes_make(name, entry->name.size);
        r = filter_check(verify, entry->term);
        if (r == 0)
            r = add_positions(verify);
        if (r == 0)
            r = run_walk_next_entry(walk);
    }
    if (r == 0)
        r = filter_read_to(verify, UINT32_MAX);
    if (r == 0 && count != header->term_count)
        tell(verify, 0, "it has not as many entries as it says");
    return r;
}

static int check_places(struct verify *verify)
{
    struct run_walk *walk = &verify->walk;
    const struct run_header *header = &verify->run->header;
    uint64_t hash = 0, offset = 0;
    filter_begin(&verify->filter, header->place_filter, header->times);
    int r = run_walk_load_place(walk);
    while (r == 0 && walk->has_place && !verify->broken) {
        if (walk->hash < hash || (walk->hash == hash && walk->offset < offset))
            tell(verify, 0, "its places are out of order");
        if (walk->offset > header->last - header->first) {
            tell(verify, 0, "a place is not of the run");
            break;
        }
        hash = walk->hash;
        offset = walk->offset;
        uint64_t position = header->first + offset;
        sums_at(verify, verify->of_run, position)->places += fact(hash, position);
        r = filter_check(verify, hash);
        walk->place++;
        if (r == 0)
            r = run_walk_load_place(walk);
    }
    return r == 0 ? filter_read_to(verify, UINT32_MAX) : r;
}

/* ---- both ---- */

static void compare_sums(struct verify *verify)
{
    for (size_t i = 0; i < verify->unit_count && !verify->broken; i++) {
        const struct sums *a = &verify->of_log[i], *b = &verify->of_run[i];
        uint64_t position = verify->run->header.first + i * verify->index->unit;
        if (a->terms != b->terms)
            tell(verify, position, "from here on a type or tag does not lead to its events, or to others");
        else if (a->streams != b->streams)
            tell(verify, position, "from here on a stream does not lead to its events, or to others");
        else if (a->places != b->places)
            tell(verify, position, "from here on an id or key does not lead to its event, or to another");
    }
}

static void compare_headers(struct verify *verify)
{
    const struct run_header *a = &verify->header, *b = &verify->run->header;
    if (a->place_count != b->place_count || a->streams_begun != b->streams_begun ||
        a->id_ms_lowest != b->id_ms_lowest || a->id_ms_highest != b->id_ms_highest ||
        a->time_last_us != b->time_last_us)
        tell(verify, 0, "its header does not say what the log says");
}

static int check_run(struct verify *verify, struct log_reader *reader)
{
    int r = read_log(verify, reader); /* also of a run that is broken: the reader is to go on behind it */
    if (r == 0 && !verify->broken)
        r = judge(verify, check_entries(verify), 0);
    if (r == 0 && !verify->broken)
        r = judge(verify, check_places(verify), 0);
    if (r == 0)
        compare_sums(verify);
    if (r == 0)
        compare_headers(verify);
    return r;
}

static int verify_run(struct verify *verify, struct run *run, struct log_reader *reader)
{
    verify->run = run;
    verify->broken = false;
    verify->header = (struct run_header){.id_ms_lowest = UINT64_MAX};
    verify->time_block = run->header.times;
    verify->time_at = verify->time_count = 0;
    verify->walk = (struct run_walk){.run = run};
    verify->unit_count = (size_t)((run->header.last - run->header.first) / verify->index->unit + 1);
    verify->of_log = calloc(verify->unit_count, sizeof(*verify->of_log));
    verify->of_run = calloc(verify->unit_count, sizeof(*verify->of_run));
    int r = verify->of_log && verify->of_run ? check_run(verify, reader) : -ENOMEM;
    free(verify->of_log);
    free(verify->of_run);
    verify->report.runs++;
    verify->report.bytes += run_size(run);
    verify->report.events = verify->report.checkpoint = run->header.last;
    return r;
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

static bool is_there(const struct verify *verify, const char *name)
{
    const struct os_file_ops *ops = verify->index->ops;
    char path[OS_PATH_SIZE_MAX];
    int file;
    if (os_path(path, verify->index->folder, name) < 0 || ops->open(ops, path, OS_FILE_READ, &file) < 0)
        return false;
    (void)ops->close(ops, file);
    return true;
}

/* Runs that the index begins without, because they or one before them cannot be used. They were there before it was opened,
 * and still are: a server that runs makes new ones and merges old ones meanwhile. */
static void tell_unused(struct verify *verify, const struct buffer *names)
{
    for (size_t offset = 0; offset < names->size;) {
        const char *name = (const char *)names->data + offset;
        uint64_t first, last;
        offset += strlen(name) + 1;
        if (!run_file_parse(name, &first, &last) || last <= verify->report.checkpoint || !is_there(verify, name))
            continue;
        verify->report.damage_count++;
        if (verify->on_damage)
            verify->on_damage(verify->user, name, first, "cannot be used: it, or one before it, is damaged or of another log");
    }
}

int journal_verify_index(const char *data_folder, const struct journal_index_options *options,
                         void (*on_damage)(void *user, const char *file, uint64_t position, const char *what),
                         journal_tools_progress *on_progress, void *user, struct journal_index_report *ret_report,
                         char *ret_error)
{
    _cleanup_(freep) struct verify *verify = calloc(1, sizeof(*verify));
    char log_folder[OS_PATH_SIZE_MAX], folder[OS_PATH_SIZE_MAX];
    struct file_log_options log_options = {.file = options ? options->file : NULL, .read_only = true};
    _cleanup_(buffer_deinit) struct buffer names = {0};
    const struct os_file_ops *ops = options && options->file ? options->file : os_file_real();
    struct log_status status;
    if (!verify)
        return -ENOMEM;
    verify->on_damage = on_damage;
    verify->on_progress = on_progress;
    verify->user = user;
    int r = tools_find_log(data_folder, log_folder);
    if (r == 0)
        r = tools_find_index(data_folder, folder);
    if (r < 0)
        return tools_fail(ret_error, r, "cannot use the path", data_folder);
    r = file_log_open(log_folder, &log_options, &verify->log, ret_error);
    if (r != 0)
        return r;
    log_status(verify->log, &status);
    verify->head = status.head;
    os_rwlock_init(&verify->lock);
    struct index_options wanted = {.file = options ? options->file : NULL,
                                   .folder = folder,
                                   .log = verify->log,
                                   .lock = &verify->lock,
                                   .unit = options ? options->unit : 0,
                                   .read_only = true};
    r = ops->list(ops, folder, &names);
    if (r == 0 || r == -ENOENT)
        r = index_open(&wanted, &verify->index);
    if (r == 0)
        r = verify_runs(verify);
    if (r == 0)
        tell_unused(verify, &names);
    index_free(verify->index);
    os_rwlock_deinit(&verify->lock);
    (void)log_close(verify->log);
    if (r < 0)
        return tools_fail(ret_error, r, "cannot check the index", folder);
    *ret_report = verify->report;
    return 0;
}
