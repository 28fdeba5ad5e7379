#include "lib/log_kit.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/vector.h"
#include "lib/cmocka_all.h"
#include "os/thread.h"

enum { UNDECIDED = 100, GONE = 101 }; /* beside enum log_outcome */

enum { TAG_SIZE = 24 }; /* serial, index, count at the start of each body */

/* One append of the model. Its number is its place in the list. */
struct model {
    uint64_t first;
    size_t count, body_size;
    int outcome;
    bool seen;
};

struct flight {
    struct log_batch batch; /* first */
    struct log_kit *kit;
    uint64_t serial; /* of its first append */
    struct log_record *records;
    struct buffer bodies;
};

struct log_kit {
    struct log *log;
    uint64_t tail;
    bool wait;
    struct os_mutex mutex;
    struct os_cond ended;
    struct model *models;
    size_t model_count, model_capacity;
    size_t flying;
    enum log_outcome last;
};

struct log_kit *log_kit_new(void)
{
    struct log_kit *kit = calloc(1, sizeof(*kit));

    assert_non_null(kit);
    os_mutex_init(&kit->mutex);
    os_cond_init(&kit->ended);
    return kit;
}

void log_kit_free(struct log_kit *kit)
{
    os_cond_deinit(&kit->ended);
    os_mutex_deinit(&kit->mutex);
    free(kit->models);
    free(kit);
}

void log_kit_use(struct log_kit *kit, struct log *log)
{
    struct log_status status = {0};

    if (log)
        log_status(log, &status);
    kit->log = log;
    kit->tail = status.head;
}

/* What stands in record `index` of append `serial`. */
static void fill_body(uint8_t *body, size_t size, uint64_t serial, uint64_t index, uint64_t count)
{
    uint32_t random = (uint32_t)(serial * 31 + index);

    assert_true(size >= TAG_SIZE);
    bytes_put_u64(body, serial);
    bytes_put_u64(body + 8, index);
    bytes_put_u64(body + 16, count);
    for (size_t i = TAG_SIZE; i < size; i++)
        body[i] = (uint8_t)((random = random * 1664525 + 1013904223) >> 24);
}

static void free_flight(struct flight *flight)
{
    free(flight->records);
    free(flight->batch.entries);
    buffer_deinit(&flight->bodies);
    free(flight);
}

static void on_done(struct log_batch *batch, enum log_outcome outcome)
{
    struct flight *flight = (struct flight *)batch;
    struct log_kit *kit = flight->kit;

    os_mutex_lock(&kit->mutex);
    for (size_t i = 0; i < batch->count; i++)
        kit->models[flight->serial + i].outcome = outcome == LOG_UNKNOWN ? UNDECIDED : (int)outcome;
    kit->last = outcome;
    kit->flying--;
    os_cond_signal(&kit->ended);
    os_mutex_unlock(&kit->mutex);
    free_flight(flight);
}

/* Adds the appends to the model, undecided; answers the serial of the first. */
static uint64_t add_models(struct log_kit *kit, size_t appends, size_t records, size_t body_size)
{
    uint64_t serial = kit->model_count;

    _os_locked_(&kit->mutex);
    assert_ok(vector_reserve(&kit->models, &kit->model_capacity, kit->model_count + appends));
    for (size_t i = 0; i < appends; i++) {
        kit->models[kit->model_count++] = (struct model){.first = kit->tail + 1 + i * records,
                                                         .count = records,
                                                         .body_size = body_size,
                                                         .outcome = UNDECIDED};
    }
    kit->flying++;
    return serial;
}

static struct flight *new_flight(struct log_kit *kit, size_t appends, size_t records, size_t body_size)
{
    struct flight *flight = calloc(1, sizeof(*flight));
    uint8_t *body;

    assert_non_null(flight);
    flight->kit = kit;
    flight->serial = add_models(kit, appends, records, body_size);
    flight->records = calloc(appends * records, sizeof(*flight->records));
    flight->batch.entries = calloc(appends, sizeof(*flight->batch.entries));
    assert_true(flight->records && flight->batch.entries);
    assert_ok(buffer_extend(&flight->bodies, appends * records * body_size, &body));
    for (size_t i = 0; i < appends * records; i++, body += body_size) {
        fill_body(body, body_size, flight->serial + i / records, i % records, records);
        flight->records[i].head = bytes_make(body, 16);
        flight->records[i].body = bytes_make(body, body_size);
    }
    for (size_t i = 0; i < appends; i++)
        flight->batch.entries[i] =
            (struct log_entry){.records = flight->records + i * records, .count = records};
    flight->batch.count = appends;
    flight->batch.tail_expected = kit->tail;
    flight->batch.done = on_done;
    flight->batch.wait = kit->wait;
    return flight;
}

int log_kit_submit(struct log_kit *kit, size_t appends, size_t records, size_t body_size)
{
    struct flight *flight = new_flight(kit, appends, records, body_size);
    int r = log_append(kit->log, &flight->batch);

    if (r == 0) {
        kit->tail += appends * records;
        return 0;
    }
    os_mutex_lock(&kit->mutex);
    for (size_t i = 0; i < appends; i++)
        kit->models[flight->serial + i].outcome = LOG_FAILED;
    kit->flying--;
    os_mutex_unlock(&kit->mutex);
    free_flight(flight);
    return r;
}

enum log_outcome log_kit_wait(struct log_kit *kit)
{
    struct log_status status;
    enum log_outcome last;

    os_mutex_lock(&kit->mutex);
    while (kit->flying > 0)
        os_cond_wait(&kit->ended, &kit->mutex);
    last = kit->last;
    os_mutex_unlock(&kit->mutex);
    log_status(kit->log, &status);
    kit->tail = status.head;
    return last;
}

enum log_outcome log_kit_append(struct log_kit *kit, size_t appends, size_t records, size_t body_size)
{
    int r;

    kit->wait = kit->model_count % 2; /* both ways to the disk */
    r = log_kit_submit(kit, appends, records, body_size);
    kit->wait = false;
    return r == 0 ? log_kit_wait(kit) : LOG_FAILED;
}

uint64_t log_kit_acknowledged(const struct log_kit *kit)
{
    uint64_t count = 0;

    for (size_t i = 0; i < kit->model_count; i++)
        count += kit->models[i].outcome == LOG_DURABLE ? kit->models[i].count : 0;
    return count;
}

/* ---- the law ---- */

/* One record against the model: it is what was submitted for this place, and may be here. */
static struct model *check_record(struct log_kit *kit, const struct log_record *record)
{
    _cleanup_(freep) uint8_t *expected = malloc(record->body.size);
    struct model *model;
    uint64_t serial, index;

    assert_true(expected && record->body.size >= TAG_SIZE);
    serial = bytes_get_u64(record->body.data);
    index = bytes_get_u64(record->body.data + 8);
    assert_true(serial < kit->model_count);
    model = &kit->models[serial];
    assert_int_equal(record->body.size, model->body_size);
    fill_body(expected, record->body.size, serial, index, model->count);
    assert_memory_equal(expected, record->body.data, record->body.size);
    assert_true(bytes_equal(record->head, bytes_make(expected, 16)));
    assert_int_equal(record->position, model->first + index);
    if (model->outcome != LOG_DURABLE && model->outcome != UNDECIDED)
        fail_msg("append %llu ended as %d and is there", (unsigned long long)serial, model->outcome);
    return model;
}

/* An append is whole: its records follow one another, all of them. */
static int check_append(struct log_kit *kit, struct log_reader *reader, uint64_t *position)
{
    struct log_record record;
    struct model *model;
    int r = log_reader_next(reader, &record);

    if (r != 0)
        return r;
    assert_int_equal(record.position, *position + 1);
    model = check_record(kit, &record);
    assert_int_equal(record.position, model->first);
    for (size_t i = 1; i < model->count; i++) {
        assert_ok(log_reader_next(reader, &record));
        assert_ptr_equal(check_record(kit, &record), model);
        assert_int_equal(record.position, model->first + i);
    }
    model->seen = true;
    *position = record.position;
    return 0;
}

static void check_end(struct log_kit *kit, int end, uint64_t position, bool may_be_damaged)
{
    struct log_status status;

    log_status(kit->log, &status);
    if (end == LOG_E_END && status.reason[0] == '\0')
        may_be_damaged = false;
    if (end != LOG_E_END)
        assert_int_equal(end, -EBADMSG);
    if (!may_be_damaged)
        assert_int_equal(end, LOG_E_END);
    else
        assert_true(!status.writable && status.reason[0]);
    if (end == LOG_E_END)
        assert_int_equal(position, status.head);
    for (size_t i = 0; i < kit->model_count; i++) {
        struct model *model = &kit->models[i];

        if (model->outcome == LOG_DURABLE && !model->seen && !may_be_damaged)
            fail_msg("append %zu was acknowledged at %llu and is lost", i, (unsigned long long)model->first);
        if (model->outcome == UNDECIDED)
            model->outcome = model->seen ? (int)LOG_DURABLE : GONE;
    }
}

void log_kit_check(struct log_kit *kit, bool may_be_damaged)
{
    _cleanup_(log_reader_freep) struct log_reader *reader = NULL;
    uint64_t position = 0;
    int r;

    for (size_t i = 0; i < kit->model_count; i++)
        kit->models[i].seen = false;
    assert_ok(log_reader_new(kit->log, 0, &reader));
    do
        r = check_append(kit, reader, &position);
    while (r == 0);
    check_end(kit, r, position, may_be_damaged);
}
