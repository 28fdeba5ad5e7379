#include "lib/journal_kit.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <ftw.h>
#include <unistd.h>

#include "log/file_log.h"
#include "os/clock.h"
#include "os/thread.h"
#include "vault/vault.h"

struct kit_landing {
    struct os_mutex lock;
    struct os_cond landed;
    size_t count;
};

unsigned kit_effort(void)
{
    const char *text = getenv("DAYBOOK_TEST_EFFORT");
    unsigned long effort = text ? strtoul(text, NULL, 10) : 1;
    return effort >= 1 && effort <= 10000 ? (unsigned)effort : 1;
}

static struct journal *open_on_store(struct memory_store *store, bool threaded,
                                     const struct journal_options *options)
{
    struct journal *journal = NULL;
    char error[256] = "";
    struct log *log = memory_log_open(store, threaded);
    int r = journal_open(log, options, &journal, error);
    if (r != 0)
        fprintf(stderr, "journal_open: %d %s\n", r, error);
    assert(r == 0);
    return journal;
}

struct journal *kit_open(struct memory_store *store, bool threaded)
{
    return open_on_store(store, threaded, NULL);
}

struct journal *kit_open_indexed(struct memory_store *store, bool threaded, const char *folder)
{
    struct journal_options options = {.index_folder = folder, .index_unit = KIT_INDEX_UNIT};
    return open_on_store(store, threaded, &options);
}

char *kit_folder_new(void)
{
    const char *base = getenv("TMPDIR");
    char *folder = NULL;
    int r = asprintf(&folder, "%s/daybook-test-XXXXXX", base ? base : "/tmp");
    assert(r > 0 && mkdtemp(folder));
    return folder;
}

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
    return remove(path);
}

void kit_folder_remove(char *folder)
{
    nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    free(folder);
}

static struct journal *open_file(const char *folder, const struct journal_options *journal_options)
{
    struct file_log_options options = {.segment_size = 256 * 1024};
    struct journal *journal = NULL;
    struct log *log = NULL;
    char error[256] = "";
    int r = file_log_open(folder, &options, &log, error);
    if (r == 0)
        r = journal_open(log, journal_options, &journal, error);
    if (r != 0)
        fprintf(stderr, "kit_open_file: %d %s\n", r, error);
    assert(r == 0);
    return journal;
}

struct journal *kit_open_file(const char *folder)
{
    return open_file(folder, NULL);
}

struct journal *kit_open_file_indexed(const char *folder)
{
    char path[OS_PATH_SIZE_MAX];
    int r = os_path(path, folder, "index");
    assert(r == 0);
    return open_file(folder, &(struct journal_options){.index_folder = path, .index_unit = KIT_INDEX_UNIT});
}

struct kit_write {
    struct os_mutex lock;
    struct os_cond landed;
    bool done;
    enum log_outcome outcome;
};

static void on_written(struct log_batch *batch, enum log_outcome outcome)
{
    struct kit_write *write = batch->user;
    _os_locked_(&write->lock);
    write->done = true;
    write->outcome = outcome;
    os_cond_signal(&write->landed);
}

struct vault *kit_vault_open(const char *folder)
{
    struct vault *vault = NULL;
    int r = vault_open(folder, NULL, &vault, NULL);
    assert(r == 0);
    return vault;
}

void kit_vault_close(struct vault *vault)
{
    vault_close(vault);
}

int kit_log_write(struct log *log, struct log_batch *batch, enum log_outcome *ret_outcome)
{
    struct kit_write write = {.lock = OS_MUTEX_INIT};
    os_cond_init(&write.landed);
    batch->done = on_written;
    batch->user = &write;
    int r = log_append(log, batch);
    os_mutex_lock(&write.lock);
    while (r == 0 && !write.done)
        os_cond_wait(&write.landed, &write.lock);
    os_mutex_unlock(&write.lock);
    *ret_outcome = write.outcome;
    os_cond_deinit(&write.landed);
    os_mutex_deinit(&write.lock);
    return r;
}

static size_t split(const char *text, struct bytes parts[16])
{
    size_t count = 0;
    while (*text) {
        size_t size = strcspn(text, " ");
        assert(count < 16);
        parts[count++] = bytes_make(text, size);
        text += size + (text[size] == ' ');
    }
    return count;
}

struct journal_event_new kit_event(const char *stream, const char *type, const char *tags,
                                   struct bytes tags_memory[16], const char *data)
{
    return (struct journal_event_new){.stream = B(stream),
                                      .type = B(type),
                                      .tags = tags_memory,
                                      .tag_count = split(tags, tags_memory),
                                      .data = B(data)};
}

int kit_append(struct journal *journal, const char *stream, const char *type, const char *tags,
               const char *data, struct journal_result *ret_result)
{
    struct bytes memory[16];
    struct journal_event_new event = kit_event(stream, type, tags, memory, data);
    struct journal_append append = {.events = &event, .event_count = 1};
    return journal_append_wait(journal, &append, ret_result);
}

int kit_append_unless(struct journal *journal, const char *type, const char *tags, uint64_t after,
                      struct journal_result *ret_result)
{
    struct bytes memory[16];
    struct journal_event_new event = kit_event("", type, tags, memory, "{}");
    struct journal_item item = {.tags = event.tags, .tag_count = event.tag_count};
    struct journal_condition condition = {.query = {.items = &item, .count = 1}, .after = after};
    struct journal_append append = {.events = &event, .event_count = 1, .condition = &condition};
    return journal_append_wait(journal, &append, ret_result);
}

uint64_t kit_stream_version(struct journal *journal, struct bytes stream)
{
    uint64_t version = 0;
    int r = journal_stream_version(journal, stream, &version);
    assert(r == 0);
    return version;
}

struct kit_landing *kit_landing_new(void)
{
    struct kit_landing *landing = calloc(1, sizeof(*landing));
    assert(landing);
    os_mutex_init(&landing->lock);
    os_cond_init(&landing->landed);
    return landing;
}

void kit_landing_free(struct kit_landing *landing)
{
    os_cond_deinit(&landing->landed);
    os_mutex_deinit(&landing->lock);
    free(landing);
}

bool kit_landing_wait(struct kit_landing *landing, size_t count)
{
    uint64_t deadline_ns = os_monotonic_ns() + 20 * OS_NS_PER_SECOND;
    _os_locked_(&landing->lock);
    while (landing->count < count)
        if (!os_cond_wait_until(&landing->landed, &landing->lock, deadline_ns))
            break;
    return landing->count >= count;
}

size_t kit_landing_count(struct kit_landing *landing)
{
    _os_locked_(&landing->lock);
    return landing->count;
}

static void land(struct journal_append *append, const struct journal_result *result)
{
    struct kit_pending *pending = append->user;
    struct kit_landing *landing = pending->landing;
    _os_locked_(&landing->lock);
    assert(!pending->done); /* done() comes exactly once */
    pending->done = true;
    pending->result = *result;
    pending->result.streams = NULL;
    pending->result.conflicts = NULL;
    landing->count++;
    os_cond_broadcast(&landing->landed);
}

void kit_submit_append(struct journal *journal, struct kit_pending *pending, struct kit_landing *landing)
{
    pending->landing = landing;
    pending->append.done = land;
    pending->append.user = pending;
    int r = journal_submit(journal, &pending->append, NULL);
    assert(r == 0);
}

void kit_submit(struct journal *journal, struct kit_pending *pending, struct kit_landing *landing,
                const char *type, const char *tags, const char *condition_tags)
{
    static struct bytes condition_memory[64]
                                        [16]; /* conditions of pending appends; tests have few at a time */
    static unsigned condition_next;
    *pending = (struct kit_pending){0};
    pending->event = kit_event("", type, tags, pending->tags, "{}");
    pending->append = (struct journal_append){.events = &pending->event, .event_count = 1};
    if (condition_tags) {
        struct bytes *memory = condition_memory[condition_next++ % 64];
        pending->item = (struct journal_item){.tags = memory, .tag_count = split(condition_tags, memory)};
        pending->condition = (struct journal_condition){.query = {.items = &pending->item, .count = 1}};
        pending->append.condition = &pending->condition;
    }
    kit_submit_append(journal, pending, landing);
}

const char *kit_types(struct journal *journal, const struct journal_read *read)
{
    static char text[4096];
    struct journal_reader *reader;
    struct journal_event event;
    size_t size = 0;
    int r = journal_reader_new(journal, read, &reader);
    assert(r == 0);
    text[0] = 0;
    while ((r = journal_reader_next(reader, &event)) == 0)
        size += (size_t)snprintf(text + size, sizeof(text) - size, "%.*s ", BYTES_PRINT(event.type));
    assert(r == JOURNAL_E_END);
    journal_reader_free(reader);
    return text;
}

uint64_t kit_position_at(struct journal *journal, int64_t time_us)
{
    uint64_t position = 0;
    int r = journal_position_at(journal, time_us, &position);
    assert(r == 0);
    return position;
}
