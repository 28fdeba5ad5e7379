/* A command's turn: on the journal's writer thread, with everything before it settled.
 *
 * Why decide here, and not before with an append condition? Because between a decision and its append another
 * command could come in, and on a hot tag nearly every one would lose and begin anew. At the turn nothing can
 * come between: the states are carried over the few events since (other commands of the same batch among
 * them), decide() runs on what is true at this very place of the journal, and its events stand there. N
 * commands on one tag share one sync.
 *
 * States are carried in place, over events that are not durable yet. When their batch fails those states are
 * of a past that never was, and the journal begins a new era: they are thrown away (C4). */

#include "base/cleanup.h"
#include "command/runtime.h"
#include "os/clock.h"

/* How a turn ends when not with events. */
enum {
    TURN_REJECTED = JOURNAL_E_REFUSED,
    TURN_REPLAYED,
    TURN_KEY_REUSED,
    TURN_RELOAD,
    TURN_APP,
};

/* ---- the key ---- */

static int turn_find_key(struct flight *flight, struct journal_turn *turn)
{
    uint8_t hash[COMMAND_KEY_HASH_SIZE];
    if (flight->key.size == 0)
        return 0;
    int r = journal_turn_find_key(turn, flight->key, &flight->first, &flight->last, hash);
    if (r == JOURNAL_E_END)
        return 0;
    if (r != 0)
        return r < 0 ? r : -EIO;
    return memcmp(hash, flight->key_hash, sizeof(hash)) == 0 ? TURN_REPLAYED : TURN_KEY_REUSED;
}

/* ---- the states ---- */

/* When an era has passed, whatever was folded beyond the head that its last turns saw may never have been written. That
 * head, and not today's: positions above it may have been taken by other events since. */
static void forget_failed(struct flight *flight, struct journal_turn *turn)
{
    struct command_runtime *runtime = flight->runtime;
    if (journal_turn_era(turn) != runtime->era_seen) {
        cache_drop_beyond(&runtime->cache, runtime->head_seen);
        for (size_t i = 0; i < flight->tag_count; i++)
            if (flight->tags[i].offer && flight->tags[i].offer->position > runtime->head_seen)
                command_state_free(take_ptr(flight->tags[i].offer));
    }
    runtime->era_seen = journal_turn_era(turn);
    runtime->head_seen = journal_head(runtime->journal);
}

/* Take over what a worker folded, unless what is here goes further, or it was folded before an erasure. */
static void install_offers(struct flight *flight)
{
    bool stale = flight->forgets != atomic_load(&flight->runtime->forgets);
    for (size_t i = 0; i < flight->tag_count; i++) {
        struct flight_tag *tag = &flight->tags[i];
        struct cache_entry *entry = tag->entry;
        if (tag->offer && !stale && (!entry->state || entry->state->position < tag->offer->position)) {
            command_state_free(entry->state);
            entry->state = take_ptr(tag->offer);
            entry->ready = true;
            cache_resized(&flight->runtime->cache, entry);
        }
        command_state_free(take_ptr(tag->offer));
    }
}

struct turn_fold {
    struct command_state *state;
    struct command_folder *folder;
    size_t count;
};

enum { FOLD_ENOUGH = 1 };

static int fold_one(void *user, const struct journal_event *event)
{
    struct turn_fold *fold = user;
    if (fold->count++ == COMMAND_DELTA_COUNT_MAX)
        return FOLD_ENOUGH;
    return command_state_fold(fold->state, fold->folder, event);
}

static void drop_state(struct flight *flight, struct cache_entry *entry)
{
    entry->ready = false;
    command_state_free(take_ptr(entry->state));
    cache_resized(&flight->runtime->cache, entry);
}

/* Carry the tag's state to the tail. TURN_RELOAD: there is none, or too much is new; a copy goes along. */
static int carry_state(struct flight *flight, struct flight_tag *tag, struct journal_turn *turn)
{
    struct cache_entry *entry = tag->entry;
    if (!entry->state) {
        tag->reload = true;
        entry->ready = false;
        return TURN_RELOAD;
    }

    const struct journal_item item = {.tags = &tag->tag, .tag_count = 1};
    const struct journal_query query = {.items = &item, .count = 1};
    struct turn_fold fold = {.state = entry->state, .folder = &flight->runtime->folder};
    int r = journal_turn_each(turn, &query, entry->state->position, fold_one, &fold);
    if (r == FOLD_ENOUGH) {
        tag->reload = true; /* carried on from the copy once this batch is durable */
        r = command_state_copy(entry->state, &tag->offer);
        return r < 0 ? r : TURN_RELOAD;
    }
    if (r == 0) {
        entry->state->position = journal_turn_tail(turn);
        cache_resized(&flight->runtime->cache, entry);
        return 0;
    }
    drop_state(flight, entry);
    if (r == COMMAND_E_SCAVENGED) { /* compacted since: a worker begins there */
        tag->reload = true;
        return TURN_RELOAD;
    }
    if (r == COMMAND_E_APP) {
        flight->detail = flight_fold_detail(flight, tag, r);
        return TURN_APP;
    }
    return r < 0 ? r : -EIO;
}

static int carry_states(struct flight *flight, struct journal_turn *turn)
{
    uint64_t folded = flight->runtime->folder.folded;
    int r = 0;
    for (size_t i = 0; i < flight->tag_count && (r == 0 || r == TURN_RELOAD); i++)
        r = error_first(r, carry_state(flight, &flight->tags[i], turn));
    atomic_fetch_add(&flight->runtime->events_folded, flight->runtime->folder.folded - folded);
    return r;
}

/* ---- the decision ---- */

static int decide(struct flight *flight)
{
    for (size_t i = 0; i < flight->tag_count; i++)
        flight->states[i] = &flight->tags[i].entry->state->view;

    struct daybook_out *out = &flight->out;
    command_out_clear(out);
    flight->command->decide(flight->states, flight->values, out);
    int r = command_out_finish(out);
    if (r == COMMAND_E_APP) {
        flight->detail =
            memory_printf(&flight->arena, "decide() of %s: %s", flight->command->name, out->problem);
        return TURN_APP;
    }
    if (r < 0)
        return r;
    if (out->refused)
        return TURN_REJECTED;

    for (size_t i = 0; i < out->event_count; i++)
        out->events[i].meta = flight->request.meta;
    flight->append.events = out->events;
    flight->append.event_count = out->event_count;
    return 0;
}

int flight_turn(struct journal_append *append, struct journal_turn *turn)
{
    struct flight *flight = append->user;
    uint64_t started_ns = os_monotonic_ns();
    append->events = NULL;
    append->event_count = 0;

    forget_failed(flight, turn);
    install_offers(flight);
    int r = turn_find_key(flight, turn);
    if (r == 0)
        r = carry_states(flight, turn);
    if (r == 0)
        r = decide(flight);
    runtime_step(flight->runtime, COMMAND_DECIDE, started_ns);
    return r;
}

/* ---- how it ended ---- */

static void answer_decided(struct flight *flight, const struct journal_result *result)
{
    const size_t count = flight->out.event_count;
    struct command_event *events = arena_alloc_array(&flight->arena, count, sizeof(*events));
    if (!events) { /* it is durable: that must be said, even if not what */
        flight_answer(flight, &(struct command_result){.position = result->last});
        return;
    }
    for (size_t i = 0; i < count; i++) {
        const struct journal_event_new *from = &flight->out.events[i];
        events[i] = (struct command_event){.position = result->first + i,
                                           .stream = from->stream,
                                           .type = from->type,
                                           .tags = from->tags,
                                           .tag_count = from->tag_count,
                                           .data = from->data};
    }
    flight_answer(flight,
                  &(struct command_result){.position = result->last, .events = events, .event_count = count});
}

static void answer_rejected(struct flight *flight, const struct journal_result *result)
{
    flight_answer(flight, &(struct command_result){.answer = COMMAND_E_REJECTED,
                                                   .position = result->last,
                                                   .rule = flight->out.rule,
                                                   .sentence = flight->out.sentence,
                                                   .facts = flight->out.facts});
}

static void load_again(struct flight *flight)
{
    if (++flight->attempt_count == COMMAND_ATTEMPT_COUNT_MAX) {
        flight_answer_plain(flight, COMMAND_E_CONTENTION,
                            memory_printf(&flight->arena, "%d times more than %d events had come in between",
                                          COMMAND_ATTEMPT_COUNT_MAX, COMMAND_DELTA_COUNT_MAX));
        return;
    }
    atomic_fetch_add(&flight->runtime->retries, 1);
    runtime_enqueue(flight->runtime, flight, FLIGHT_LOAD);
}

static void answer_journal(struct flight *flight, const struct journal_result *result)
{
    if (result->answer < 0) {
        flight_answer_failure(flight, result->answer);
        return;
    }
    flight_answer(flight,
                  &(struct command_result){
                      .answer = result->answer == JOURNAL_E_INVALID ? COMMAND_E_APP : COMMAND_E_JOURNAL,
                      .journal_answer = result->answer,
                      .detail = memory_printf(&flight->arena, "%.255s", result->detail)});
}

void flight_landed(struct journal_append *append, const struct journal_result *result)
{
    struct flight *flight = append->user;
    runtime_step(flight->runtime, COMMAND_APPEND, flight->started_ns);

    switch (result->answer) {
    case 0: answer_decided(flight, result); break;
    case TURN_REJECTED: answer_rejected(flight, result); break;
    case TURN_REPLAYED: runtime_enqueue(flight->runtime, flight, FLIGHT_REPLAY); break;
    case TURN_KEY_REUSED:
        flight_answer_plain(flight, COMMAND_E_KEY_REUSED,
                            "the idempotency key came with another body before");
        break;
    case TURN_RELOAD: load_again(flight); break;
    case TURN_APP: flight_answer_plain(flight, COMMAND_E_APP, flight->detail); break;
    default: answer_journal(flight, result); break;
    }
}

/* ---- forgetting ---- */

struct forgetting {
    struct journal_append append; /* first */
    struct command_runtime *runtime;
};

static int forget_states(struct journal_append *append, struct journal_turn *turn)
{
    cache_drop_beyond(&((struct forgetting *)append)->runtime->cache, 0);
    return 0; /* without events: nothing is written */
}

int command_runtime_forget(struct command_runtime *runtime)
{
    struct forgetting forgetting = {.append.prepare = forget_states, .runtime = runtime};
    struct journal_result result;
    atomic_fetch_add(&runtime->forgets, 1); /* first: what a worker has folded until now is not taken any more */
    return journal_append_wait(runtime->journal, &forgetting.append, &result);
}
