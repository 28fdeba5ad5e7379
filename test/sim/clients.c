/*
 * Writers send random appends from a small world of names, so that they meet: some one at a time, some many at once; now
 * and then they send again what they do not know the end of. Readers follow the head from random places.
 */
#include "sim/clients.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <stdlib.h>

#include "journal/index.h"
#include "os/clock.h"
#include "os/random.h"
#include "sim/scheduler.h"

#define MS OS_NS_PER_MS

enum { PENDING_MAX = 24 }; /* appends of one client on their way at once */

/* ---- making an append ---- */

static struct bytes one_of(const char *const *names, uint32_t count)
{
    return bytes_from_string(names[scheduler_dice(count)]);
}

static struct bytes some_stream(void)
{
    static const char *const names[] = {"", "a", "b", "c"};
    return one_of(names, 4);
}

static struct bytes some_type(void)
{
    static const char *const names[] = {"A", "B", "C"};
    return one_of(names, 3);
}

static struct bytes some_tag(void)
{
    static const char *const names[] = {"x", "y", "z", "x:1", "x:2"};
    return one_of(names, 5);
}

/* Mostly small, sometimes several sectors, now and then most of a segment. */
static size_t some_size(void)
{
    if (scheduler_chance(60))
        return 20000 + scheduler_dice(40000);
    if (scheduler_chance(6))
        return 500 + scheduler_dice(5000);
    return scheduler_dice(200);
}

static char *some_data(uint64_t number, size_t index)
{
    size_t pad = some_size(), size = pad + 64;
    char *text = malloc(size);
    int head;

    assert(text);
    head = snprintf(text, size, "{\"n\":%llu,\"i\":%zu,\"pad\":\"", (unsigned long long)number, index);
    for (size_t i = 0; i < pad; i++)
        text[(size_t)head + i] = (char)('a' + (number * 7 + index * 3 + i) % 26);
    memcpy(text + (size_t)head + pad, "\"}", 3);
    return text;
}

static void make_event(struct entry *entry, size_t index)
{
    struct journal_event_new *event = &entry->events[index];

    entry->data[index] = some_data(entry->number, index);
    *event = (struct journal_event_new){.stream = some_stream(),
                                        .type = some_type(),
                                        .tags = entry->tags[index],
                                        .tag_count = scheduler_dice(LEDGER_TAG_COUNT_MAX + 1),
                                        .data = bytes_from_string(entry->data[index])};
    for (size_t i = 0; i < event->tag_count; i++)
        entry->tags[index][i] = some_tag();
}

/* An id that somebody has used before: with other content that is a mistake, and must be told. */
static void steal_an_id(struct entry *entry)
{
    const struct oracle *oracle = entry->oracle;
    const struct entry *other = oracle->ledger[scheduler_dice((uint32_t)oracle->count)];
    struct journal_event_new *event = &entry->events[scheduler_dice((uint32_t)entry->append.event_count)];

    if (other->events[0].has_id)
        memcpy(event->id, other->events[0].id, sizeof(event->id));
}

static void give_ids(struct entry *entry)
{
    for (size_t i = 0; i < entry->append.event_count; i++) {
        entry->events[i].has_id = true;
        int r = os_random(entry->events[i].id, sizeof(entry->events[i].id));
        assert(r == 0);
    }
    if (scheduler_chance(12))
        steal_an_id(entry);
}

static void make_query(struct journal_item *items, struct bytes (*types)[2], struct bytes (*tags)[2],
                       struct journal_query *query)
{
    *query = (struct journal_query){.items = items, .count = scheduler_dice(LEDGER_ITEM_COUNT_MAX + 1)};
    for (size_t i = 0; i < query->count; i++) {
        items[i] = (struct journal_item){.types = types[i],
                                         .type_count = scheduler_dice(3),
                                         .tags = tags[i],
                                         .tag_count = 1 + scheduler_dice(2)};
        for (size_t j = 0; j < 2; j++) {
            types[i][j] = some_type();
            tags[i][j] = some_tag();
        }
    }
}

static void give_guards(struct entry *entry, uint64_t head)
{
    struct journal_append *append = &entry->append;

    if (scheduler_chance(2)) {
        make_query(entry->items, entry->types, entry->item_tags, &entry->condition.query);
        entry->condition.after = head;
        if (scheduler_chance(4))
            entry->condition.after = head - scheduler_dice((uint32_t)(head < 4 ? head + 1 : 4));
        append->condition = &entry->condition;
    }
    append->expectations = entry->expectations;
    append->expectation_count = scheduler_chance(4) ? 1 + scheduler_dice(2) : 0;
    for (size_t i = 0; i < append->expectation_count; i++) {
        entry->expectations[i] = (struct journal_expectation){
            some_stream(), (enum journal_expect)scheduler_dice(4), scheduler_dice(12)};
        if (entry->expectations[i].stream.size == 0)
            entry->expectations[i].stream = bytes_from_string("never");
    }
}

static int count_one(void *user, const struct journal_event *event)
{
    ++*(uint64_t *)user;
    return 0;
}

/* The append decides at its turn, on what stands before it: every third time it refuses itself. */
static int on_prepare(struct journal_append *append, struct journal_turn *turn)
{
    struct entry *entry = (struct entry *)append;
    const struct journal_item item = {.tags = &entry->decided_on, .tag_count = 1};
    int r;

    entry->seen_count = 0;
    entry->seen_tail = journal_turn_tail(turn);
    r = journal_turn_each(turn, &(struct journal_query){.items = &item, .count = 1}, 0, count_one,
                          &entry->seen_count);
    if (r < 0)
        return r;
    return entry->seen_count % 3 == 2 ? JOURNAL_E_REFUSED : 0;
}

static struct entry *make_entry(struct life *life)
{
    struct entry *entry = oracle_new_entry(life->oracle);

    entry->append.events = entry->events;
    entry->append.event_count = 1 + scheduler_dice(LEDGER_EVENT_COUNT_MAX);
    for (size_t i = 0; i < entry->append.event_count; i++)
        make_event(entry, i);
    if (!scheduler_chance(3))
        give_ids(entry);
    if (!scheduler_chance(3))
        give_guards(entry, journal_head(life->journal));
    if (scheduler_chance(6)) {
        entry->decided_on = some_tag();
        entry->append.prepare = on_prepare;
    }
    return entry;
}

/* An append of any time, most likely one whose end is not known. NULL: none with ids. */
static struct entry *repeat_some(struct life *life)
{
    struct oracle *oracle = life->oracle;

    for (unsigned tries = 0; tries < 8 && oracle->count > 0; tries++) {
        size_t back = scheduler_dice((uint32_t)(oracle->count < 40 ? oracle->count : 40));
        struct entry *entry = oracle->ledger[oracle->count - 1 - back];

        if (entry->events[0].has_id)
            return oracle_repeat(oracle, entry);
    }
    return NULL;
}

/* ---- sending ---- */

static void on_done(struct journal_append *append, const struct journal_result *result)
{
    struct entry *entry = (struct entry *)append;
    struct life *life = append->user;

    os_mutex_lock(&life->lock);
    life->oracle->deaf |= life->faults->dead;
    oracle_hear(life->oracle, entry, result);
    os_cond_broadcast(&life->ended);
    os_mutex_unlock(&life->lock);
}

/* Now and then on the caller's own thread, if nobody else is writing. */
static int hand_over(struct life *life, struct entry *entry, struct journal_result *ret_result)
{
    if (life->flood || !scheduler_chance(5))
        return journal_submit(life->journal, &entry->append, ret_result);
    int r = journal_append_wait(life->journal, &entry->append, ret_result);
    return entry->ended ? 0 : r;
}

/* False: it was not taken. */
static bool submit(struct life *life, struct entry *entry)
{
    struct journal_result result;
    int r;

    entry->append.done = on_done;
    entry->append.user = life;
    entry->state = ENTRY_OPEN;
    entry->after_failed_sync = life->faults->sync_failed;
    r = hand_over(life, entry, &result);
    if (r == 0)
        return true;
    entry->state = ENTRY_REFUSED;
    entry->ended = true;
    if (r != JOURNAL_E_READ_ONLY || !life->faults->hurt)
        if (!life->faults->dead)
            scheduler_fail("append %llu was not taken: %d %s", (unsigned long long)entry->number, r,
                           result.detail);
    return false;
}

static void wait_for(struct life *life, const struct entry *entry)
{
    os_mutex_lock(&life->lock);
    while (!entry->ended)
        os_cond_wait(&life->ended, &life->lock);
    os_mutex_unlock(&life->lock);
}

/* Without a fault there is no reason for any other answer. */
static void check_reason(struct life *life, const struct entry *entry)
{
    int answer = entry->answer;

    if (life->faults->dead || answer == 0 || answer == JOURNAL_E_CONFLICT || answer == JOURNAL_E_ID_REUSED ||
        answer == JOURNAL_E_REFUSED)
        return;
    if (answer == JOURNAL_E_FULL ? !life->faults->full : !life->faults->hurt)
        scheduler_fail("append %llu was answered %d on a healthy disk", (unsigned long long)entry->number,
                       answer);
}

static void pause_a_while(void)
{
    if (scheduler_chance(12))
        scheduler_sleep(250 * MS); /* long enough for the log to note its floor */
    else if (scheduler_chance(3))
        scheduler_sleep(scheduler_dice(3000000) + 1);
}

/* Waits for the oldest, until `keep` are left. */
static void take_back(struct life *life, struct entry **pending, unsigned *count, unsigned keep)
{
    unsigned done = 0;

    for (; *count - done > keep; done++) {
        wait_for(life, pending[done]);
        check_reason(life, pending[done]);
    }
    *count -= done;
    memmove(pending, pending + done, *count * sizeof(*pending));
}

static void run_client(void *user)
{
    struct life *life = user;
    struct entry *pending[PENDING_MAX];
    unsigned count = 0, width = life->flood || scheduler_chance(3) ? PENDING_MAX : 1 + scheduler_dice(6);

    for (unsigned i = 0; i < life->appends && !life->faults->dead; i++) {
        struct entry *entry = scheduler_chance(8) ? repeat_some(life) : NULL;

        if (!entry)
            entry = make_entry(life);
        if (submit(life, entry))
            pending[count++] = entry;
        if (count < width && i + 1 < life->appends)
            continue;
        take_back(life, pending, &count, life->flood ? width / 2 : 0);
        if (!life->flood)
            pause_a_while();
    }
    while (count > 0)
        wait_for(life, pending[--count]);
}

/* ---- reading ---- */

static int read_on(struct life *life, struct journal_reader *reader, uint64_t *position)
{
    struct journal_event event;
    int r;

    while ((r = journal_reader_next(reader, &event)) == 0) {
        if (event.position != ++*position)
            scheduler_fail("a reader was shown %llu where %llu comes next (P3)",
                           (unsigned long long)event.position, (unsigned long long)*position);
        os_mutex_lock(&life->lock);
        life->oracle->deaf |= life->faults->dead;
        oracle_hear_event(life->oracle, &event);
        os_mutex_unlock(&life->lock);
    }
    return r;
}

static void run_reader(void *user)
{
    struct life *life = user;
    uint64_t position = scheduler_dice((uint32_t)journal_head(life->journal) + 1);
    struct journal_reader *reader;
    int r =
        journal_reader_new(life->journal, &(struct journal_read){.after = position, .system = true}, &reader);

    if (r < 0)
        return;
    while (!life->quiet && !life->faults->dead) {
        r = read_on(life, reader, &position);
        if (r != JOURNAL_E_END && !life->faults->hurt && !life->faults->dead)
            scheduler_fail("reading after %llu ended with %d on a healthy disk", (unsigned long long)position,
                           r);
        if (r != JOURNAL_E_END)
            break;
        (void)journal_wait(life->journal, position, 20 + scheduler_dice(50));
    }
    journal_reader_free(reader);
}

static void compare_read(struct life *life, const struct journal_read *read)
{
    static uint64_t expected[20000];
    size_t count = naive_read(life->oracle->model, read, expected, sizeof(expected) / sizeof(expected[0]));
    struct journal_reader *reader;
    struct journal_event event;
    size_t i = 0;
    int r = journal_reader_new(life->journal, read, &reader);

    assert(r == 0);
    while ((r = journal_reader_next(reader, &event)) == 0 && i < count && event.position == expected[i])
        i++;
    if (r == 0 || i < count)
        scheduler_fail("a filtered reader ends with %d at %llu, where the model has %llu", r,
                       (unsigned long long)(r == 0 ? event.position : 0),
                       (unsigned long long)(i < count ? expected[i] : 0));
    journal_reader_free(reader);
}

void clients_compare_reads(struct life *life)
{
    struct journal_item items[LEDGER_ITEM_COUNT_MAX];
    struct bytes types[LEDGER_ITEM_COUNT_MAX][2], tags[LEDGER_ITEM_COUNT_MAX][2];

    for (unsigned i = 0; i < 4; i++) {
        struct journal_query query;
        struct journal_read read = {.query = &query};

        make_query(items, types, tags, &query);
        if (scheduler_chance(2))
            read.stream = some_stream();
        read.direction = scheduler_chance(2) ? JOURNAL_FORWARD : JOURNAL_BACKWARD;
        if (scheduler_chance(2))
            read.after = scheduler_dice((uint32_t)naive_head(life->oracle->model) + 1);
        compare_read(life, &read);
    }
}

/* ---- */

static void on_moved(struct journal_listener *listener, uint64_t head)
{
    struct life *life = (struct life *)((char *)listener - offsetof(struct life, listener));

    life->oracle->deaf |= life->faults->dead;
    oracle_hear_head(life->oracle, head);
}

void clients_work(struct life *life)
{
    int r = 0;

    life->listener.moved = on_moved;
    journal_listen(life->journal, &life->listener);
    for (unsigned i = 0; i < CLIENT_COUNT; i++)
        r |= os_thread_start(&life->clients[i], "client", run_client, life);
    for (unsigned i = 0; i < READER_COUNT; i++)
        r |= os_thread_start(&life->readers[i], "reader", run_reader, life);
    assert(r == 0);
    for (unsigned i = 0; i < CLIENT_COUNT; i++)
        os_thread_join(&life->clients[i]);
    life->quiet = true;
    for (unsigned i = 0; i < READER_COUNT; i++)
        os_thread_join(&life->readers[i]);
    journal_unlisten(life->journal, &life->listener);
}

/* One more append; NULL: it was not taken, for a reason. */
static const struct entry *try_room(struct life *life)
{
    struct entry *entry = oracle_new_entry(life->oracle);

    entry->append.events = entry->events;
    entry->append.event_count = 1;
    make_event(entry, 0);
    if (!submit(life, entry))
        return NULL;
    wait_for(life, entry);
    return entry;
}

/* An index that found no room tries again after INDEX_RETRY_MS, and until then appends may be refused on its behalf. */
void clients_prove_room(struct life *life)
{
    const struct entry *entry = try_room(life);

    if (entry && entry->answer == JOURNAL_E_FULL) {
        scheduler_sleep(2 * INDEX_RETRY_MS * MS);
        entry = try_room(life);
    }
    if (!entry)
        return;
    if (entry->answer != 0 && !life->faults->dead && !life->faults->hurt)
        scheduler_fail("there is room again, but append %llu was answered %d (P7)",
                       (unsigned long long)entry->number, entry->answer);
}
