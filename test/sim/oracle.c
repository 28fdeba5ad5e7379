#include "sim/oracle.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/vector.h"
#include "journal/scavenge.h"
#include "sim/scheduler.h"

/* ---- the ledger ---- */

void oracle_init(struct oracle *oracle)
{
    *oracle = (struct oracle){.model = naive_new()};
}

void oracle_deinit(struct oracle *oracle)
{
    for (size_t i = 0; i < oracle->count; i++) {
        for (size_t j = 0; j < LEDGER_EVENT_COUNT_MAX; j++)
            free(oracle->ledger[i]->data[j]);
        free(oracle->ledger[i]);
    }
    free(oracle->ledger);
    free(oracle->shown);
    naive_free(oracle->model);
}

struct entry *oracle_new_entry(struct oracle *oracle)
{
    struct entry *entry = calloc(1, sizeof(*entry));
    int r = vector_reserve(&oracle->ledger, &oracle->capacity, oracle->count + 1);

    assert(entry && r == 0);
    oracle->ledger[oracle->count++] = entry;
    entry->oracle = oracle;
    entry->number = oracle->count;
    entry->life = oracle->life;
    return entry;
}

struct entry *oracle_repeat(struct oracle *oracle, const struct entry *entry)
{
    struct entry *again = oracle_new_entry(oracle);
    struct entry fresh = *again;

    *again = *entry;
    again->number = fresh.number;
    again->life = fresh.life;
    again->state = ENTRY_NEW;
    again->ended = again->after_failed_sync = false;
    again->append.events = again->events;
    again->append.expectations = again->expectations;
    again->append.condition = entry->append.condition ? &again->condition : NULL;
    again->condition.query.items = again->items;
    for (size_t i = 0; i < LEDGER_ITEM_COUNT_MAX; i++) {
        again->items[i].types = again->types[i];
        again->items[i].tags = again->item_tags[i];
    }
    for (size_t i = 0; i < entry->append.event_count; i++) {
        again->events[i].tags = again->tags[i];
        again->data[i] = strdup(entry->data[i]);
        again->events[i].data = bytes_from_string(again->data[i]);
    }
    return again;
}

/* ---- while the process lives ---- */

/* Content and place of an event, as a number. */
static uint64_t hash_event(const struct journal_event *event)
{
    uint64_t hash = event->position * UINT64_C(0x9e3779b97f4a7c15) + event->version;
    struct bytes parts[] = {event->stream, event->type, event->data, event->meta, bytes_make(event->id, 16)};

    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        for (size_t j = 0; j < parts[i].size; j++)
            hash = (hash ^ parts[i].data[j]) * UINT64_C(0x100000001b3);
        hash = hash * 31 + parts[i].size;
    }
    return hash ? hash : 1;
}

static void compare_answer(const struct entry *entry, const struct journal_result *result,
                           const struct journal_result *expected)
{
    if (result->answer != expected->answer || result->replayed != expected->replayed)
        scheduler_fail("append %llu was answered %d%s, the model says %d%s: %s",
                       (unsigned long long)entry->number, result->answer,
                       result->replayed ? " (replayed)" : "", expected->answer,
                       expected->replayed ? " (replayed)" : "", result->detail);
    if (result->answer == 0 && (result->first != expected->first || result->last != expected->last))
        scheduler_fail("append %llu went to %llu–%llu, the model says %llu–%llu",
                       (unsigned long long)entry->number, (unsigned long long)result->first,
                       (unsigned long long)result->last, (unsigned long long)expected->first,
                       (unsigned long long)expected->last);
    if (result->conflict_count != expected->conflict_count)
        scheduler_fail("append %llu has %zu conflicts, the model says %zu", (unsigned long long)entry->number,
                       result->conflict_count, expected->conflict_count);
}

/* What prepare() was shown at its turn is what the model has before the append (P4). */
static void compare_turn(struct oracle *oracle, const struct entry *entry)
{
    const struct journal_item item = {.tags = &entry->decided_on, .tag_count = 1};
    const struct journal_query query = {.items = &item, .count = 1};
    uint64_t positions[10000];
    size_t count = naive_read(oracle->model, &(struct journal_read){.query = &query}, positions, 10000);

    if (entry->seen_tail != naive_head(oracle->model) || entry->seen_count != count)
        scheduler_fail("append %llu was decided on %llu events of %llu, the model has %zu of %llu (P4)",
                       (unsigned long long)entry->number, (unsigned long long)entry->seen_count,
                       (unsigned long long)entry->seen_tail, count,
                       (unsigned long long)naive_head(oracle->model));
}

/* Decided: the model decides, too. */
static void hear_decided(struct oracle *oracle, struct entry *entry, const struct journal_result *result)
{
    struct journal_result expected;

    naive_append(oracle->model, &entry->append, &expected);
    compare_answer(entry, result, &expected);
    if (result->answer == 0 && !result->replayed && entry->after_failed_sync)
        scheduler_fail("append %llu was accepted after a failed sync (P7)",
                       (unsigned long long)entry->number);
    entry->state = result->answer == 0 ? ENTRY_ACCEPTED : ENTRY_REFUSED;
}

void oracle_hear(struct oracle *oracle, struct entry *entry, const struct journal_result *result)
{
    assert(entry->state == ENTRY_OPEN);
    entry->answer = result->answer;
    entry->ended = true;
    if (oracle->deaf)
        return;
    scheduler_note("append %llu: answer %d%s, %llu–%llu %s", (unsigned long long)entry->number,
                   result->answer, result->replayed ? " (replayed)" : "", (unsigned long long)result->first,
                   (unsigned long long)result->last, result->detail);
    bool decided =
        result->answer == 0 || result->answer == JOURNAL_E_CONFLICT || result->answer == JOURNAL_E_ID_REUSED;
    if (entry->decided_on.size > 0 && (decided || result->answer == JOURNAL_E_REFUSED))
        compare_turn(oracle, entry);
    if (decided)
        hear_decided(oracle, entry, result);
    else
        entry->state = result->answer == JOURNAL_E_UNKNOWN ? ENTRY_UNKNOWN : ENTRY_REFUSED;
    oracle->accepted += entry->state == ENTRY_ACCEPTED;
    oracle->refused += entry->state == ENTRY_REFUSED;
}

void oracle_hear_head(struct oracle *oracle, uint64_t head)
{
    if (oracle->deaf || head == oracle->head_moved)
        return;
    if (head < oracle->head_moved)
        scheduler_fail("the head went back from %llu to %llu (P3)", (unsigned long long)oracle->head_moved,
                       (unsigned long long)head);
    /* The frames of this batch carry the head before it as their floor, when that is synced. */
    if (!oracle->async)
        oracle->floor = oracle->head_moved;
    oracle->head_moved = head;
}

static void remember(struct oracle *oracle, uint64_t position, uint64_t hash)
{
    size_t before = oracle->shown_capacity;
    int r = vector_reserve(&oracle->shown, &oracle->shown_capacity, position + 1);

    assert(r == 0);
    for (size_t i = before; i < oracle->shown_capacity; i++)
        oracle->shown[i] = 0;
    if (oracle->shown[position] != 0 && oracle->shown[position] != hash)
        scheduler_fail("the event at %llu is not the one that was shown before (P3)",
                       (unsigned long long)position);
    oracle->shown[position] = hash;
    if (position > oracle->head_shown)
        oracle->head_shown = position;
}

void oracle_hear_event(struct oracle *oracle, const struct journal_event *event)
{
    if (!oracle->deaf)
        remember(oracle, event->position, hash_event(event));
}

/* ---- after a crash ---- */

/* The one who sent an event: its number stands in the data. */
static struct entry *sender(struct oracle *oracle, const struct journal_event *event)
{
    char text[64] = "";
    unsigned long long number = 0;

    memcpy(text, event->data.data, event->data.size < 63 ? event->data.size : 63);
    if (sscanf(text, "{\"n\":%llu,", &number) != 1 || number < 1 || number > oracle->count)
        scheduler_fail("the event at %llu was never submitted", (unsigned long long)event->position);
    return oracle->ledger[number - 1];
}

/* Any of those that carry this content may have been the one. */
static bool may_be_found(struct oracle *oracle, const struct entry *entry)
{
    for (size_t i = entry->number - 1; i < oracle->count; i++) {
        const struct entry *other = oracle->ledger[i];

        if (other->data[0] && strcmp(other->data[0], entry->data[0]) == 0 &&
            (other->state == ENTRY_OPEN || other->state == ENTRY_UNKNOWN))
            return true;
    }
    return false;
}

/* The first event of an append that nobody was told of: the model takes the whole of it. */
static void settle(struct oracle *oracle, const struct journal_event *event)
{
    struct entry *entry = sender(oracle, event);
    struct journal_result expected;
    uint64_t before = naive_head(oracle->model);

    if (!may_be_found(oracle, entry))
        scheduler_fail("append %llu, which ended with answer %d, stands at %llu",
                       (unsigned long long)entry->number, entry->answer, (unsigned long long)event->position);
    scheduler_note("append %llu is found at %llu", (unsigned long long)entry->number,
                   (unsigned long long)event->position);
    naive_append(oracle->model, &entry->append, &expected);
    if (expected.answer != 0 || expected.replayed || expected.first != before + 1)
        scheduler_fail("append %llu stands at %llu, but the model refuses it there (%d)",
                       (unsigned long long)entry->number, (unsigned long long)event->position,
                       expected.answer);
}

/* A body is gone exactly where a `$Scavenged` says so (S1, S2). True: it is. */
static bool compare_stub(struct oracle *oracle, const struct journal_event *event,
                         const struct scavenged *scavenged)
{
    bool said = scavenged && scavenged_has(scavenged, event->position);

    if (event->stub && scavenged && !said)
        scheduler_fail("the body of %llu is gone, and nothing says so (S1)",
                       (unsigned long long)event->position);
    if (said && !event->stub && !oracle->may_lag)
        scheduler_fail("the body of %llu was said to go, and is there (S2)",
                       (unsigned long long)event->position);
    if (!event->stub || event->position > naive_head(oracle->model))
        return false;
    naive_forget(oracle->model, event->position);
    if (event->position < oracle->shown_capacity)
        oracle->shown[event->position] = 0; /* as it was shown it will not be again */
    return true;
}

static bool is_system(const struct journal_event *event)
{
    return event->type.size > 0 && event->type.data[0] == '$';
}

void oracle_hear_scavenge(struct oracle *oracle, struct journal *journal)
{
    _cleanup_(scavenged_freep) struct scavenged *scavenged = NULL;
    _cleanup_(journal_reader_freep) struct journal_reader *reader = NULL;
    struct journal_event event;
    int r = scavenged_load(journal, 0, &scavenged);

    if (r == 0)
        r = journal_reader_new(journal, &(struct journal_read){.system = true}, &reader);
    while (r == 0 && (r = journal_reader_next(reader, &event)) == 0) {
        if (event.position > naive_head(oracle->model) && is_system(&event))
            naive_adopt(oracle->model, &event);
        (void)compare_stub(oracle, &event, scavenged);
    }
}

static void compare_event(struct oracle *oracle, const struct journal_event *event, uint64_t position,
                          const struct scavenged *scavenged)
{
    if (event->position != position)
        scheduler_fail("a reader was shown %llu where %llu comes next (P3)",
                       (unsigned long long)event->position, (unsigned long long)position);
    if (position > naive_head(oracle->model) && is_system(event))
        naive_adopt(oracle->model, event);
    else if (position > naive_head(oracle->model))
        settle(oracle, event);
    bool gone = compare_stub(oracle, event, scavenged);
    naive_learn(oracle->model, event);
    if (!gone)
        remember(oracle, position, hash_event(event));
}

/* Reads everything; answers how far it came, and the reader's last answer. */
static uint64_t compare_events(struct oracle *oracle, struct journal *journal, enum oracle_law law, int *ret_r)
{
    struct journal_reader *reader;
    struct journal_event event;
    uint64_t position = 0, end = 0; /* of the append that the last event belongs to */
    int64_t time_us = INT64_MIN;
    _cleanup_(scavenged_freep) struct scavenged *scavenged = NULL;
    int r = 0;

    if (law != ORACLE_DAMAGE) /* where the disk has lied, what says so may be what is missing */
        r = scavenged_load(journal, 0, &scavenged);
    if (r < 0)
        scheduler_fail("what was scavenged cannot be read: %d", r);
    r = journal_reader_new(journal, &(struct journal_read){.system = true}, &reader);
    assert(r == 0);
    while ((r = journal_reader_next(reader, &event)) == 0) {
        compare_event(oracle, &event, ++position, scavenged);
        end = event.append_first + event.append_count - 1;
        if (event.time_us < time_us)
            scheduler_fail("the time of %llu is before that of the event before it (J6)",
                           (unsigned long long)position);
        time_us = event.time_us;
    }
    if (position != end)
        scheduler_fail("the append that ends at %llu is there up to %llu only (P2)", (unsigned long long)end,
                       (unsigned long long)position);
    journal_reader_free(reader);
    *ret_r = r;
    return position;
}

static void forget_above(struct oracle *oracle, uint64_t head)
{
    for (size_t i = 0; i < oracle->count; i++) {
        struct entry *entry = oracle->ledger[i];

        if (entry->state == ENTRY_OPEN || entry->state == ENTRY_UNKNOWN)
            entry->state = ENTRY_REFUSED; /* from now on: what is not there will not come */
    }
    for (uint64_t position = head + 1; position < oracle->shown_capacity; position++)
        oracle->shown[position] = 0;
    naive_cut(oracle->model, head);
    oracle->head_shown = oracle->head_moved = head;
}

/* Something that was acknowledged is missing. Whether that may be. */
static void judge_loss(struct oracle *oracle, struct journal *journal, enum oracle_law law, uint64_t found,
                       uint64_t owed, int r)
{
    struct journal_status status;

    journal_status(journal, &status);
    if (law == ORACLE_STRICT)
        scheduler_fail("%llu events are there, %llu were acknowledged or shown (P1, P6): %s",
                       (unsigned long long)found, (unsigned long long)owed, status.reason);
    if (law == ORACLE_ASYNC && found < oracle->head_shown)
        scheduler_fail("%llu events are there, and the one at %llu was shown (P3)", (unsigned long long)found,
                       (unsigned long long)oracle->head_shown);
    if (law != ORACLE_DAMAGE || found >= oracle->floor)
        return;
    if (r != -EBADMSG && (status.writable || status.reason[0] == '\0'))
        scheduler_fail("%llu events are there, %llu lie below the floor, and nothing is said of it (P6)",
                       (unsigned long long)found, (unsigned long long)oracle->floor);
    if (!strstr(status.reason, ".seg"))
        scheduler_fail("the damage has no file: %s (P6)", status.reason);
}

bool oracle_compare(struct oracle *oracle, struct journal *journal, enum oracle_law law)
{
    struct journal_status status;
    uint64_t owed = naive_head(oracle->model), found;
    int r;

    if (oracle->head_shown > owed)
        owed = oracle->head_shown;
    found = compare_events(oracle, journal, law, &r);
    journal_status(journal, &status);
    if (r != JOURNAL_E_END && law != ORACLE_DAMAGE)
        scheduler_fail("reading ended with %d", r);
    if (found < owed)
        judge_loss(oracle, journal, law, found, owed, r);
    /* Damage below the index's checkpoint is met by who reads there, not by opening. */
    if (found != journal_head(journal) && r != -EBADMSG)
        scheduler_fail("%llu events are shown, the head is %llu", (unsigned long long)found,
                       (unsigned long long)journal_head(journal));
    forget_above(oracle, found);
    scheduler_note("opened: %llu events, %s", (unsigned long long)found,
                   status.writable ? "writable" : status.reason);
    return status.writable;
}
