/* What workers do: fold states from the journal, and read what an idempotency key caused. Both read the
 * journal's files and may take their time; neither the caller's thread nor the writer's may wait for that. */

#include "base/cleanup.h"
#include "command/compact.h"
#include "command/runtime.h"
#include "os/clock.h"

/* ---- load ---- */

/* A tag that stands twice in the boundary is loaded once. */
static bool earlier_in_boundary(const struct flight *flight, size_t index)
{
    for (size_t i = 0; i < index; i++)
        if (flight->tags[i].entry == flight->tags[index].entry)
            return true;
    return false;
}

/* What was folded before an erasure begins anew. */
static void drop_stale_offers(struct flight *flight)
{
    uint64_t forgets = atomic_load(&flight->runtime->forgets);
    for (size_t i = 0; flight->forgets != forgets && i < flight->tag_count; i++)
        command_state_free(take_ptr(flight->tags[i].offer));
    flight->forgets = forgets;
}

enum { SHOWN_MS_MAX = 10000 }; /* for a disk to sync what was answered before (LOG_ASYNC) */

/* Until what was answered up to `position` is shown to readers. 0 or -errno. */
static int wait_shown(struct flight *flight, uint64_t position)
{
    return position > 0 ? journal_wait(flight->runtime->journal, position - 1, SHOWN_MS_MAX) : 0;
}

static int load(struct flight *flight, struct command_folder *folder)
{
    int shown = flight->attempt_count > 0 ? wait_shown(flight, journal_tail(flight->runtime->journal)) : 0;
    if (shown < 0)
        return shown;
    drop_stale_offers(flight);
    for (size_t i = 0; i < flight->tag_count; i++) {
        struct flight_tag *tag = &flight->tags[i];
        if ((tag->entry->ready && !tag->reload) || earlier_in_boundary(flight, i))
            continue;

        int r = compact_load(flight->runtime->journal, tag->kind, tag->tag, folder, take_ptr(tag->offer),
                             &tag->offer);
        if (r > 0)
            flight->detail = flight_fold_detail(flight, tag, r);
        if (r != 0)
            return r;
        tag->reload = false;
        tag->entry->ready = true;
    }
    return 0;
}

/* A key that is durable already needs no states: true when the command has been answered or is on its way to
 * be. */
static bool known_by_key(struct flight *flight, struct command_folder *folder)
{
    uint8_t hash[COMMAND_KEY_HASH_SIZE];
    if (flight->key.size == 0 ||
        journal_find_key(flight->runtime->journal, flight->key, &flight->first, &flight->last, hash) != 0)
        return false;
    if (memcmp(hash, flight->key_hash, sizeof(hash)) != 0) {
        flight_answer_plain(flight, COMMAND_E_KEY_REUSED,
                            "the idempotency key came with another body before");
    } else {
        flight->work = FLIGHT_REPLAY;
        flight_work(flight, folder);
    }
    return true;
}

/* ---- replay ---- */

static int copy_event(struct arena *arena, const struct journal_event *event, struct command_event *ret_event)
{
    struct bytes *tags = arena_alloc_array(arena, event->tag_count, sizeof(*tags));
    if (!tags)
        return -ENOMEM;
    for (size_t i = 0; i < event->tag_count; i++) {
        tags[i] = memory_copy(arena, event->tags[i]);
        if (!tags[i].data)
            return -ENOMEM;
    }
    struct command_event copy = {
        .position = event->position,
        .stream = memory_copy(arena, event->stream),
        .type = memory_copy(arena, event->type),
        .tags = tags,
        .tag_count = event->tag_count,
        .data = event->stub || event->erased || event->sealed ? BYTES_LITERAL("null") : memory_copy(arena, event->data),
    };
    if (!copy.stream.data || !copy.type.data || !copy.data.data)
        return -ENOMEM;
    *ret_event = copy;
    return 0;
}

static int read_events(struct flight *flight, struct command_event **ret_events, size_t *ret_count)
{
    const size_t count = (size_t)(flight->last - flight->first + 1);
    struct command_event *events = arena_alloc_array(&flight->arena, count, sizeof(*events));
    if (!events)
        return -ENOMEM;

    _cleanup_(journal_reader_freep) struct journal_reader *reader = NULL;
    int r = wait_shown(flight, flight->last);
    if (r < 0)
        return r;
    r = journal_reader_new(
        flight->runtime->journal,
        &(struct journal_read){.after = flight->first - 1, .before = flight->last + 1, .system = true},
        &reader);
    for (size_t i = 0; i < count && r == 0; i++) {
        struct journal_event event;
        r = journal_reader_next(reader, &event);
        if (r == 0)
            r = copy_event(&flight->arena, &event, &events[i]);
    }
    if (r != 0)
        return r < 0 ? r : -EIO; /* what the index promised is not there */
    *ret_events = events;
    *ret_count = count;
    return 0;
}

static void replay(struct flight *flight)
{
    struct command_event *events = NULL;
    size_t count = 0;
    int r = read_events(flight, &events, &count);
    if (r < 0) {
        flight_answer_failure(flight, r);
        return;
    }
    flight_answer(flight,
                  &(struct command_result){
                      .position = flight->last, .replayed = true, .events = events, .event_count = count});
}

void flight_work(struct flight *flight, struct command_folder *folder)
{
    struct command_runtime *runtime = flight->runtime;
    if (flight->work == FLIGHT_REPLAY) {
        replay(flight);
        return;
    }
    if (flight->attempt_count == 0 && known_by_key(flight, folder))
        return;

    flight->started_ns = os_monotonic_ns();
    uint64_t folded = folder->folded;
    int r = load(flight, folder);
    atomic_fetch_add(&runtime->events_folded, folder->folded - folded);
    runtime_step(runtime, COMMAND_LOAD, flight->started_ns);
    if (r < 0)
        flight_answer_failure(flight, r);
    else if (r > 0)
        flight_answer_plain(flight, r, flight->detail);
    else
        flight_send(flight);
}
