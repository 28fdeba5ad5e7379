/* include/daybook/daybook.h over journal.h. The public structs have other names for the same things, so that they can stay
 * while ours change; bytes have the same shape on both sides, which is asserted. */

#include <daybook/daybook.h>

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "journal/arena.h"
#include "journal/journal.h"
#include "journal/keys.h"
#include "log/file_log.h"
#include "os/clock.h"
#include "os/thread.h"

static_assert(sizeof(struct daybook_bytes) == sizeof(struct bytes) &&
                  offsetof(struct daybook_bytes, data) == offsetof(struct bytes, data) &&
                  offsetof(struct daybook_bytes, size) == offsetof(struct bytes, size),
              "lists of bytes are handed through as they are");
static_assert((int)DAYBOOK_E_INVALID == JOURNAL_E_INVALID && (int)DAYBOOK_E_CONFLICT == JOURNAL_E_CONFLICT &&
                  (int)DAYBOOK_E_ID_REUSED == JOURNAL_E_ID_REUSED && (int)DAYBOOK_E_FULL == JOURNAL_E_FULL &&
                  (int)DAYBOOK_E_READ_ONLY == JOURNAL_E_READ_ONLY &&
                  (int)DAYBOOK_E_TOO_LARGE == JOURNAL_E_TOO_LARGE && (int)DAYBOOK_E_BUSY == JOURNAL_E_BUSY &&
                  (int)DAYBOOK_E_UNKNOWN == JOURNAL_E_UNKNOWN && (int)DAYBOOK_E_FAILED == JOURNAL_E_FAILED &&
                  (int)DAYBOOK_E_END == JOURNAL_E_END,
              "the journal's answers are handed through as they are");
static_assert((int)DAYBOOK_EXPECT_ANY == JOURNAL_EXPECT_ANY &&
                  (int)DAYBOOK_EXPECT_NONE == JOURNAL_EXPECT_NONE &&
                  (int)DAYBOOK_EXPECT_EXISTS == JOURNAL_EXPECT_EXISTS &&
                  (int)DAYBOOK_EXPECT_VERSION == JOURNAL_EXPECT_VERSION,
              "likewise expectations");

enum { LOOK_MS = 20 }; /* between two looks at what another process has written */

struct daybook {
    struct vault *vault;
    struct journal *journal;
    bool read_only;
};

struct daybook_reader {
    struct daybook *book;
    struct journal_reader *reader;
    bool backward;
};

const char *daybook_version(void)
{
    return DAYBOOK_VERSION;
}

const char *daybook_error_text(int answer)
{
    static const char *const texts[] = {
        [0] = "done",
        [DAYBOOK_E_INVALID] = "a name, size or number breaks a rule",
        [DAYBOOK_E_CONFLICT] = "the journal is not as the append expects it",
        [DAYBOOK_E_ID_REUSED] = "an event id is known with other content",
        [DAYBOOK_E_FULL] = "no room on the disk",
        [DAYBOOK_E_READ_ONLY] = "the journal takes no appends",
        [DAYBOOK_E_TOO_LARGE] = "the append is too large",
        [DAYBOOK_E_BUSY] = "too many appends wait already",
        [DAYBOOK_E_UNKNOWN] = "the append may be there or not",
        [DAYBOOK_E_FAILED] = "writing failed",
        [DAYBOOK_E_END] = "nothing more for now",
        [DAYBOOK_E_TIMEOUT] = "nothing came in time",
        [DAYBOOK_E_LOCKED] = "another process writes to this folder",
        [DAYBOOK_E_NEWER] = "made by a newer daybook",
        [DAYBOOK_E_DAMAGED] = "the files are not as they were written",
        [DAYBOOK_E_MISSING] = "there is no journal",
        [DAYBOOK_E_BEYOND] = "the journal ends before what is to be read after",
    };
    if (answer < 0)
        return strerror(-answer);
    bool known = (size_t)answer < sizeof(texts) / sizeof(texts[0]) && texts[answer];
    return known ? texts[answer] : "no such answer";
}

/* ---- open and close ---- */

static int answer_of_open(int r)
{
    switch (r) {
    case FILE_LOG_E_LOCKED: return DAYBOOK_E_LOCKED;
    case FILE_LOG_E_NEWER: return DAYBOOK_E_NEWER;
    case FILE_LOG_E_DAMAGED: return DAYBOOK_E_DAMAGED;
    case FILE_LOG_E_MISSING: return DAYBOOK_E_MISSING;
    case -EPROTO: return DAYBOOK_E_NEWER;
    case -EBADMSG: return DAYBOOK_E_DAMAGED;
    default: return r;
    }
}

static int open_journal(const char *folder, const struct daybook_options *options, struct daybook *book,
                        char *ret_error)
{
    struct file_log_options log_options = {.durability = options->async ? LOG_ASYNC : LOG_SYNC,
                                           .read_only = options->read_only};
    const struct keys_options keys_options = {.read_only = options->read_only};
    char path[OS_PATH_SIZE_MAX], keys[OS_PATH_SIZE_MAX], index[OS_PATH_SIZE_MAX];
    struct journal_options journal_options = {.read_only = options->read_only, .index_folder = index};
    struct log *log;
    int r = os_path(path, folder, "log");
    if (r == 0)
        r = os_path(keys, folder, "keys");
    if (r == 0)
        r = os_path(index, folder, "index");
    if (r == 0 && !options->read_only)
        r = os_file_real()->make_folder(os_file_real(), folder);
    if (r < 0) {
        snprintf(ret_error, DAYBOOK_ERROR_SIZE, "cannot make the folder %.150s: %s", folder, strerror(-r));
        return r;
    }
    r = file_log_open(path, &log_options, &log, ret_error);
    if (r != 0)
        return r;
    r = keys_open(log, keys, &keys_options, &book->vault, ret_error);
    if (r != 0) {
        (void)log_close(log);
        return r == VAULT_E_NEWER ? -EPROTO : r == VAULT_E_DAMAGED || r == KEYS_E_LOST ? -EBADMSG : r;
    }
    journal_options.vault = book->vault;
    return journal_open(log, &journal_options, &book->journal, ret_error);
}

int daybook_open(const char *folder, const struct daybook_options *options, struct daybook **ret_book,
                 char *ret_error)
{
    static const struct daybook_options defaults = {0};
    char error[DAYBOOK_ERROR_SIZE] = "";
    struct daybook *book = calloc(1, sizeof(*book));
    int r = book ? open_journal(folder, options ? options : &defaults, book, error) : -ENOMEM;
    if (r == 0) {
        book->read_only = options && options->read_only;
        *ret_book = book;
        return 0;
    }
    r = answer_of_open(r);
    if (ret_error)
        snprintf(ret_error, DAYBOOK_ERROR_SIZE, "%s", error[0] ? error : daybook_error_text(r));
    if (book)
        vault_close(book->vault);
    free(book);
    return r;
}

void daybook_close(struct daybook *book)
{
    if (!book)
        return;
    journal_close(book->journal);
    vault_close(book->vault);
    free(book);
}

static struct bytes ours(struct daybook_bytes bytes)
{
    return bytes_make(bytes.data, bytes.size);
}

static struct daybook_bytes theirs(struct bytes bytes)
{
    return (struct daybook_bytes){.data = bytes.data, .size = bytes.size};
}

uint64_t daybook_head(const struct daybook *book)
{
    return journal_head(book->journal);
}

uint64_t daybook_stream_version(struct daybook *book, struct daybook_bytes stream)
{
    uint64_t version;
    return journal_stream_version(book->journal, ours(stream), &version) == 0 ? version : UINT64_MAX;
}

/* ---- appending ---- */

/* An append on its way, and who waits for it. */
struct waiting {
    struct journal_append append; /* first */
    struct journal_condition condition;
    struct arena arena;
    struct os_mutex lock;
    struct os_cond ended;
    bool done;
    int answer;
    const struct daybook_append *wanted;
    struct daybook_result result;
};

static int copy_items(struct arena *arena, const struct daybook_item *items, size_t count,
                      struct journal_query *ret_query)
{
    struct journal_item *copies = arena_alloc_array(arena, count, sizeof(*copies));
    if (!copies)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++)
        copies[i] = (struct journal_item){.types = (const struct bytes *)items[i].types,
                                          .type_count = items[i].type_count,
                                          .tags = (const struct bytes *)items[i].tags,
                                          .tag_count = items[i].tag_count};
    *ret_query = (struct journal_query){.items = copies, .count = count};
    return 0;
}

static int copy_events(struct waiting *waiting, const struct daybook_append *append)
{
    struct journal_event_new *events =
        arena_alloc_array(&waiting->arena, append->event_count, sizeof(*events));
    if (!events)
        return -ENOMEM;
    for (size_t i = 0; i < append->event_count; i++) {
        const struct daybook_event_new *event = &append->events[i];
        events[i] = (struct journal_event_new){.stream = ours(event->stream),
                                               .type = ours(event->type),
                                               .tags = (const struct bytes *)event->tags,
                                               .tag_count = event->tag_count,
                                               .data = ours(event->data),
                                               .content_type = ours(event->content_type),
                                               .meta = ours(event->meta),
                                               .subject = ours(event->subject),
                                               .has_id = event->has_id};
        memcpy(events[i].id, event->id, sizeof(events[i].id));
    }
    waiting->append.events = events;
    waiting->append.event_count = append->event_count;
    return 0;
}

static int copy_guards(struct waiting *waiting, const struct daybook_append *append)
{
    struct journal_expectation *expectations =
        arena_alloc_array(&waiting->arena, append->expectation_count, sizeof(*expectations));
    if (!expectations)
        return -ENOMEM;
    for (size_t i = 0; i < append->expectation_count; i++)
        expectations[i] =
            (struct journal_expectation){.stream = ours(append->expectations[i].stream),
                                         .expect = (enum journal_expect)append->expectations[i].expect,
                                         .version = append->expectations[i].version};
    waiting->append.expectations = expectations;
    waiting->append.expectation_count = append->expectation_count;
    if (!append->has_condition && append->item_count == 0)
        return 0;
    waiting->condition.after = append->after;
    waiting->append.condition = &waiting->condition;
    return copy_items(&waiting->arena, append->items, append->item_count, &waiting->condition.query);
}

static void note_result(struct waiting *waiting, const struct journal_result *result)
{
    const struct daybook_append *wanted = waiting->wanted;
    waiting->answer = result->answer;
    waiting->result = (struct daybook_result){.first = result->first,
                                              .last = result->last,
                                              .replayed = result->replayed,
                                              .conflict_count = result->conflict_count};
    snprintf(waiting->result.detail, sizeof(waiting->result.detail), "%s", result->detail);
    for (size_t i = 0; wanted->conflicts && i < result->conflict_count && i < wanted->conflict_count_max; i++)
        wanted->conflicts[i] = (struct daybook_conflict){.stream = theirs(result->conflicts[i].stream),
                                                         .actual = result->conflicts[i].actual,
                                                         .item = result->conflicts[i].item,
                                                         .position = result->conflicts[i].position};
}

static void on_done(struct journal_append *append, const struct journal_result *result)
{
    struct waiting *waiting = (struct waiting *)append;
    _os_locked_(&waiting->lock);
    note_result(waiting, result);
    waiting->done = true;
    os_cond_signal(&waiting->ended);
}

static void submit_and_wait(struct daybook *book, struct waiting *waiting)
{
    struct journal_result result;
    os_mutex_init(&waiting->lock);
    os_cond_init(&waiting->ended);
    waiting->append.done = on_done;
    if (journal_submit(book->journal, &waiting->append, &result) == 0) {
        os_mutex_lock(&waiting->lock);
        while (!waiting->done)
            os_cond_wait(&waiting->ended, &waiting->lock);
        os_mutex_unlock(&waiting->lock);
    } else {
        note_result(waiting, &result);
    }
    os_cond_deinit(&waiting->ended);
    os_mutex_deinit(&waiting->lock);
}

int daybook_append(struct daybook *book, const struct daybook_append *append,
                   struct daybook_result *ret_result)
{
    struct waiting waiting = {.wanted = append};
    int r = copy_events(&waiting, append);
    if (r == 0)
        r = copy_guards(&waiting, append);
    if (r == 0)
        submit_and_wait(book, &waiting);
    else
        note_result(&waiting, &(struct journal_result){.answer = r, .detail = "no memory"});
    if (ret_result)
        *ret_result = waiting.result;
    arena_deinit(&waiting.arena);
    return waiting.answer;
}

/* ---- erasing ---- */

int daybook_erase(struct daybook *book, struct daybook_bytes subject, uint64_t *ret_position)
{
    struct journal_erasure erasure;
    int r = journal_erase(book->journal, ours(subject), &erasure);
    if (r == 0 && ret_position)
        *ret_position = erasure.position;
    return r == JOURNAL_E_NO_SUBJECT ? DAYBOOK_E_MISSING : r;
}

/* ---- reading ---- */

/* Forward, and after something that is not there: 0 or DAYBOOK_E_BEYOND, -errno. */
static int check_after(struct daybook *book, const struct daybook_read *read)
{
    uint64_t end = 0;
    int r = 0;
    if (read->backward || read->after == 0)
        return 0;
    for (int look = 0; look < 2; look++) { /* what another process has written is looked for before it is missed */
        r = look > 0 ? daybook_refresh(book) : 0;
        if (r == 0 && read->stream.size > 0)
            r = journal_tail_version(book->journal, ours(read->stream), &end);
        else
            end = journal_tail(book->journal);
        if (r != 0 || read->after <= end)
            return r;
    }
    return journal_is_incomplete(book->journal) ? -EBADMSG : DAYBOOK_E_BEYOND;
}

int daybook_reader_new(struct daybook *book, const struct daybook_read *read,
                       struct daybook_reader **ret_reader)
{
    static const struct daybook_read everything = {0};
    struct arena arena = {0};
    struct journal_query query = {0};
    _cleanup_(freep) struct daybook_reader *reader = calloc(1, sizeof(*reader));
    if (!reader)
        return -ENOMEM;
    if (!read)
        read = &everything;
    int r = check_after(book, read);
    if (r == 0)
        r = copy_items(&arena, read->items, read->item_count, &query);
    if (r == 0) {
        struct journal_read wanted = {.stream = ours(read->stream),
                                      .prefix = ours(read->stream_prefix),
                                      .query = &query,
                                      .system = read->system,
                                      .after = read->after,
                                      .before = read->before,
                                      .direction = read->backward ? JOURNAL_BACKWARD : JOURNAL_FORWARD};
        reader->book = book;
        reader->backward = read->backward;
        r = journal_reader_new(book->journal, &wanted, &reader->reader);
    }
    arena_deinit(&arena);
    if (r == 0)
        *ret_reader = take_ptr(reader);
    return r == -EBADMSG ? DAYBOOK_E_DAMAGED : r;
}

int daybook_reader_next(struct daybook_reader *reader, struct daybook_event_stored *ret_event)
{
    struct journal_event event;
    int r = journal_reader_next(reader->reader, &event);
    if (r != 0)
        return r == -EBADMSG ? DAYBOOK_E_DAMAGED : r;
    *ret_event = (struct daybook_event_stored){.position = event.position,
                                               .version = event.version,
                                               .time_us = event.time_us,
                                               .stream = theirs(event.stream),
                                               .type = theirs(event.type),
                                               .data = theirs(event.data),
                                               .content_type = theirs(event.content_type),
                                               .meta = theirs(event.meta),
                                               .tags = (const struct daybook_bytes *)event.tags,
                                               .tag_count = event.tag_count,
                                               .erased = event.stub || event.erased,
                                               .subject = theirs(event.subject),
                                               .sealed = event.sealed};
    memcpy(ret_event->id, event.id, sizeof(ret_event->id));
    return 0;
}

int daybook_reader_wait(struct daybook_reader *reader, uint32_t timeout_ms,
                        struct daybook_event_stored *ret_event)
{
    uint64_t deadline_ns = os_monotonic_ns() + timeout_ms * OS_NS_PER_MS, now_ns;
    for (;;) {
        uint64_t head = daybook_head(reader->book);
        int r = daybook_reader_next(reader, ret_event);
        if (r != DAYBOOK_E_END || reader->backward)
            return r;
        now_ns = os_monotonic_ns();
        if (now_ns >= deadline_ns)
            return DAYBOOK_E_TIMEOUT;
        r = daybook_wait(reader->book, head, (uint32_t)((deadline_ns - now_ns) / OS_NS_PER_MS) + 1);
        if (r != 0)
            return r;
    }
}

uint64_t daybook_reader_position(const struct daybook_reader *reader)
{
    return journal_reader_examined(reader->reader);
}

void daybook_reader_free(struct daybook_reader *reader)
{
    if (!reader)
        return;
    journal_reader_free(reader->reader);
    free(reader);
}

int daybook_refresh(struct daybook *book)
{
    int r = journal_refresh(book->journal);
    return r == -EBADMSG ? DAYBOOK_E_DAMAGED : r;
}

/* Another process does not tell when it has written: look, wait a moment, look again. */
static int wait_looking(struct daybook *book, uint64_t after, uint32_t timeout_ms)
{
    uint64_t deadline_ns = os_monotonic_ns() + timeout_ms * OS_NS_PER_MS;
    for (;;) {
        int r = daybook_refresh(book);
        uint64_t now_ns = os_monotonic_ns();
        if (r != 0 || daybook_head(book) > after)
            return r;
        if (now_ns >= deadline_ns)
            return DAYBOOK_E_TIMEOUT;
        uint64_t left_ms = (deadline_ns - now_ns) / OS_NS_PER_MS + 1;
        r = journal_wait(book->journal, after, left_ms < LOOK_MS ? (uint32_t)left_ms : LOOK_MS);
        if (r != -ETIMEDOUT)
            return r;
    }
}

int daybook_wait(struct daybook *book, uint64_t after, uint32_t timeout_ms)
{
    if (book->read_only)
        return wait_looking(book, after, timeout_ms);
    int r = journal_wait(book->journal, after, timeout_ms);
    return r == -ETIMEDOUT ? DAYBOOK_E_TIMEOUT : r;
}
