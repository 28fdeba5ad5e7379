/* The runtime on a journal in memory, whose log can be held up and made to fail. */

#include "lib/cmocka_all.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "command/command.h"
#include "journal/codec.h"
#include "lib/app_kit.h"
#include "lib/command_kit.h"
#include "lib/counter_app.h"
#include "lib/journal_kit.h"
#include "os/clock.h"
#include "os/thread.h"

enum { WAIT_S_MAX = 20 };

struct world {
    struct memory_store *store;
    struct journal *journal;
    struct command_runtime *runtime;
};

static void world_open(struct world *world, const struct command_options *options)
{
    char error[256] = "";
    world->journal = kit_open(world->store, true);
    assert_ok(command_runtime_new(world->journal, counter_app, options, &world->runtime, error));
}

static void world_close(struct world *world)
{
    command_runtime_close(world->runtime);
    journal_close(world->journal);
}

static int setup(void **state)
{
    struct world *world = calloc(1, sizeof(*world));
    world->store = memory_store_new();
    world_open(world, NULL);
    *state = world;
    return 0;
}

static int teardown(void **state)
{
    struct world *world = *state;
    world_close(world);
    memory_store_free(world->store);
    free(world);
    return 0;
}

static void reopen(struct world *world, const struct command_options *options)
{
    world_close(world);
    world_open(world, options);
}

/* Wait for a condition, at most WAIT_S_MAX. */
#define WAIT_UNTIL(condition)                                                                                \
    do {                                                                                                     \
        uint64_t deadline_ns = os_monotonic_ns() + WAIT_S_MAX * OS_NS_PER_SECOND;                            \
        while (!(condition)) {                                                                               \
            assert_true(os_monotonic_ns() < deadline_ns);                                                    \
            sched_yield();                                                                                   \
        }                                                                                                    \
    } while (0)

static uint64_t queue_count(struct world *world)
{
    struct journal_status status;
    journal_status(world->journal, &status);
    return status.queue_count;
}

static const char *add_json(const char *counter, int64_t by)
{
    static _Thread_local char json[128];
    snprintf(json, sizeof(json), "{\"counter\":\"%s\",\"by\":%lld}", counter, (long long)by);
    return json;
}

static int add(struct world *world, struct kit_command *command, const char *counter, int64_t by)
{
    return kit_command(world->runtime, command, "Add", add_json(counter, by), NULL);
}

/* What a counter stands at, by its own refusal. */
static int64_t value_of(struct world *world, const char *counter)
{
    struct kit_command command;
    assert_int_equal(add(world, &command, counter, -1000000000), COMMAND_E_REJECTED);
    return strtoll(command.facts + strlen("{\"value\":"), NULL, 10);
}

/* ---- how commands end ---- */

static void a_decision_is_stored_and_answered(void **state)
{
    struct world *world = *state;
    struct kit_command command;
    assert_int_equal(add(world, &command, "a", 5), 0);
    assert_int_equal(command.position, 1);
    assert_int_equal(command.event_count, 1);
    assert_int_equal(command.first_position, 1);
    assert_string_equal(command.type, "CounterChanged");
    assert_string_equal(command.data, "{\"by\":5}");
    assert_string_equal(command.tags, "counter:a");
    assert_false(command.replayed);
    assert_int_equal(journal_head(world->journal), 1);
}

static void events_of_one_decision_are_stored_together(void **state)
{
    struct world *world = *state;
    struct kit_command command;
    add(world, &command, "a", 5);
    assert_int_equal(
        kit_command(world->runtime, &command, "Move", "{\"from\":\"a\",\"to\":\"b\",\"by\":3}", NULL), 0);
    assert_int_equal(command.event_count, 2);
    assert_int_equal(command.first_position, 2);
    assert_int_equal(command.position, 3);
    assert_int_equal(value_of(world, "a"), 2);
    assert_int_equal(value_of(world, "b"), 3);
}

static void a_refusal_has_rule_sentence_facts_and_position(void **state)
{
    struct world *world = *state;
    struct kit_command command;
    add(world, &command, "a", 5);
    assert_int_equal(
        kit_command(world->runtime, &command, "Move", "{\"from\":\"a\",\"to\":\"b\",\"by\":6}", NULL),
        COMMAND_E_REJECTED);
    assert_string_equal(command.rule, "below-zero");
    assert_string_equal(command.sentence, "A counter does not go below zero.");
    assert_string_equal(command.facts, "{\"value\":5}");
    assert_int_equal(command.position, 1);
    assert_int_equal(command.event_count, 0);
    assert_int_equal(journal_head(world->journal), 1);
}

static void nothing_to_do_answers_the_position_it_was_decided_at(void **state)
{
    struct world *world = *state;
    struct kit_command command;
    add(world, &command, "a", 5);
    assert_int_equal(add(world, &command, "a", 0), 0);
    assert_int_equal(command.event_count, 0);
    assert_int_equal(command.position, 1);
    assert_int_equal(journal_head(world->journal), 1);
}

static void a_tag_that_is_twice_in_a_boundary_has_one_state(void **state)
{
    struct world *world = *state;
    struct kit_command command;
    add(world, &command, "a", 5);
    reopen(world, NULL);
    assert_int_equal(
        kit_command(world->runtime, &command, "Move", "{\"from\":\"a\",\"to\":\"a\",\"by\":5}", NULL), 0);
    assert_int_equal(value_of(world, "a"), 5);
}

static void what_is_not_a_command_is_told_apart(void **state)
{
    struct world *world = *state;
    struct kit_command command;
    assert_int_equal(kit_command(world->runtime, &command, "Nothing", "{}", NULL), COMMAND_E_UNKNOWN);
    assert_string_equal(command.detail, "counter has no command of this name");
    assert_int_equal(kit_command(world->runtime, &command, "Add", "{\"counter\":\"a\",", NULL),
                     COMMAND_E_MALFORMED);
    assert_int_equal(kit_command(world->runtime, &command, "Add", "[]", NULL), COMMAND_E_MALFORMED);
    assert_string_equal(command.detail, "a command is a JSON object, not an array");
    assert_int_equal(kit_command(world->runtime, &command, "Add", "{\"by\":1,\"by\":2}", NULL),
                     COMMAND_E_MALFORMED);
    assert_int_equal(kit_command(world->runtime, &command, "Add", "{\"by\":\"x\"}", NULL), COMMAND_E_INVALID);
    assert_int_equal(command.violation_total, 2);
    assert_int_equal(journal_head(world->journal), 0);
}

/* COMMAND_BODY_SIZE_MAX, COMMAND_DEPTH_MAX */
static void a_body_too_large_or_too_deep_is_malformed(void **state)
{
    struct world *world = *state;
    struct kit_command command;
    size_t size = COMMAND_BODY_SIZE_MAX;
    _cleanup_(freep) char *body = malloc(size + 2);
    memset(body, ' ', size + 1);
    memcpy(body, "{\"counter\":\"a\",\"by\":1}", 22);
    body[size] = '\0';
    assert_int_equal(kit_command(world->runtime, &command, "Add", body, NULL), 0);
    body[size] = ' ';
    body[size + 1] = '\0';
    assert_int_equal(kit_command(world->runtime, &command, "Add", body, NULL), COMMAND_E_MALFORMED);

    char deep[2 * COMMAND_DEPTH_MAX + 32];
    size_t at = (size_t)snprintf(deep, sizeof(deep), "{\"by\":");
    for (int i = 0; i < COMMAND_DEPTH_MAX; i++)
        deep[at++] = '[';
    for (int i = 0; i < COMMAND_DEPTH_MAX; i++)
        deep[at++] = ']';
    snprintf(deep + at, sizeof(deep) - at, "}");
    assert_int_equal(kit_command(world->runtime, &command, "Add", deep, NULL), COMMAND_E_MALFORMED);
}

/* ---- one after another ---- */

/* P4, C1, C2: N racers, one unit left, one batch: one wins, and no loser hears before the winner is durable. */
static void of_racers_in_one_batch_exactly_one_wins(void **state)
{
    enum { RACERS = 64 };
    struct world *world = *state;
    static struct kit_command racers[RACERS];
    struct kit_command command, blocker;
    add(world, &command, "a", 1);
    memory_store_hold(world->store);
    kit_command_submit(world->runtime, &blocker, "Add", add_json("other", 1), NULL, NULL);
    assert_true(memory_store_wait_held(world->store));
    for (int i = 0; i < RACERS; i++)
        kit_command_submit(world->runtime, &racers[i], "Add", add_json("a", -1), NULL, NULL);
    WAIT_UNTIL(queue_count(world) == RACERS + 1);
    for (int i = 0; i < RACERS; i++)
        assert_false(kit_command_is_done(&racers[i]));
    memory_store_release(world->store);

    int won = 0, lost = 0;
    for (int i = 0; i < RACERS; i++) {
        kit_command_wait(&racers[i]);
        won += racers[i].answer == 0;
        lost += racers[i].answer == COMMAND_E_REJECTED;
        assert_int_equal(racers[i].done_count, 1);
    }
    assert_int_equal(won, 1);
    assert_int_equal(lost, RACERS - 1);
    assert_int_equal(racers[0].answer, 0);
    assert_int_equal(memory_store_batches(world->store), 3);
}

struct racer {
    struct os_thread thread;
    struct world *world;
    struct kit_command command;
    const char *counter;
    _Atomic bool *go;
};

static void race(void *user)
{
    struct racer *racer = user;
    while (!*racer->go)
        sched_yield();
    add(racer->world, &racer->command, racer->counter, -1);
}

static void of_64_threads_exactly_one_takes_the_last(void **state)
{
    enum { THREADS = 64, ROUNDS = 20 };
    struct world *world = *state;
    static struct racer racers[THREADS];
    struct kit_command command;
    for (int round = 0; round < ROUNDS; round++) {
        char counter[16];
        _Atomic bool go = false;
        int won = 0;
        snprintf(counter, sizeof(counter), "c%d", round);
        add(world, &command, counter, 1);
        for (int i = 0; i < THREADS; i++) {
            racers[i] = (struct racer){.world = world, .counter = counter, .go = &go};
            assert_ok(os_thread_start(&racers[i].thread, "racer", race, &racers[i]));
        }
        go = true;
        for (int i = 0; i < THREADS; i++) {
            os_thread_join(&racers[i].thread);
            won += racers[i].command.answer == 0;
            assert_true(racers[i].command.answer == 0 || racers[i].command.answer == COMMAND_E_REJECTED);
        }
        assert_int_equal(won, 1);
        assert_int_equal(value_of(world, counter), 0);
    }
}

static void events_appended_by_others_count(void **state)
{
    struct world *world = *state;
    struct kit_command command;
    add(world, &command, "a", 1);
    assert_ok(kit_append(world->journal, "", "CounterChanged", "counter:a", "{\"by\":10}", NULL));
    assert_int_equal(value_of(world, "a"), 11);
    assert_ok(kit_append(world->journal, "", "Unheard", "counter:a", "{\"by\":10}", NULL));
    assert_int_equal(value_of(world, "a"), 11);
}

/* ---- too much news ---- */

enum { RIVAL_EVENTS = COMMAND_DELTA_COUNT_MAX + 50 };

/* An append from outside of more events than a turn folds, and more than the journal waits with: it makes a batch at once,
 * on top of those on their way. */
struct rival {
    struct journal_append append;
    struct journal_event_new events[RIVAL_EVENTS];
    struct bytes tag;
    _Atomic bool landed;
};

static void rival_done(struct journal_append *append, const struct journal_result *result)
{
    struct rival *rival = append->user;
    assert_int_equal(result->answer, 0);
    rival->landed = true;
}

static struct rival *rival_submit(struct world *world)
{
    struct rival *rival = calloc(1, sizeof(*rival));
    rival->tag = BYTES_LITERAL("counter:a");
    for (int i = 0; i < RIVAL_EVENTS; i++)
        rival->events[i] = (struct journal_event_new){.type = BYTES_LITERAL("CounterChanged"),
                                                      .tags = &rival->tag,
                                                      .tag_count = 1,
                                                      .data = BYTES_LITERAL("{\"by\":1}")};
    rival->append = (struct journal_append){
        .events = rival->events, .event_count = RIVAL_EVENTS, .done = rival_done, .user = rival};
    assert_ok(journal_submit(world->journal, &rival->append, NULL));
    return rival;
}

static void rival_end(struct rival *rival)
{
    WAIT_UNTIL(rival->landed);
    free(rival);
}

/* COMMAND_DELTA_COUNT_MAX */
static void too_much_news_for_a_turn_goes_back_to_load(void **state)
{
    struct world *world = *state;
    struct kit_command command;
    struct command_metrics before, after;
    add(world, &command, "a", 1);
    rival_end(rival_submit(world));
    command_metrics(world->runtime, &before);
    assert_int_equal(add(world, &command, "a", -RIVAL_EVENTS - 1), 0);
    command_metrics(world->runtime, &after);
    assert_int_equal(after.retries - before.retries, 1);
    assert_int_equal(value_of(world, "a"), 0);
}

/* COMMAND_ATTEMPT_COUNT_MAX. Each time the command is on its way again, a rival stands before it already, and its events
 * are not durable when the command's states are loaded. */
static void turns_lost_again_and_again_end_in_contention(void **state)
{
    enum { RIVALS_MAX = 2 * COMMAND_ATTEMPT_COUNT_MAX + 1 };
    struct world *world = *state;
    struct rival *rivals[RIVALS_MAX];
    struct kit_command command;
    size_t count = 0;
    memory_store_hold(world->store);
    rivals[count++] = rival_submit(world);
    assert_true(memory_store_wait_held(world->store));
    kit_command_submit(world->runtime, &command, "Add", add_json("a", -1), NULL, NULL);
    for (;;) {
        /* The last rival and the command: once the rival before it has been answered it counts no more. */
        WAIT_UNTIL(kit_command_is_done(&command) ||
                   ((count < 2 || rivals[count - 2]->landed) && queue_count(world) == 2));
        if (kit_command_is_done(&command))
            break;
        assert_true(count + 2 <= RIVALS_MAX);
        rivals[count++] = rival_submit(world); /* with it in one batch comes the command's turn, on top of the last rival */
        assert_true(memory_store_wait_batches(world->store, count));
        memory_store_step(world->store);
        rivals[count++] = rival_submit(world); /* and this one is on its way when the command begins anew */
        assert_true(memory_store_wait_batches(world->store, count));
        memory_store_step(world->store);
    }
    assert_int_equal(command.answer, COMMAND_E_CONTENTION);
    memory_store_release(world->store);
    for (size_t i = 0; i < count; i++)
        rival_end(rivals[i]);
    assert_int_equal(add(world, &command, "a", -1), 0);
}

/* ---- keys ---- */

static int add_with_key(struct world *world, struct kit_command *command, int64_t by, const char *key)
{
    return kit_command(world->runtime, command, "Add", add_json("a", by), key);
}

/* C5 */
static void the_same_key_and_body_answer_the_first_positions(void **state)
{
    struct world *world = *state;
    struct kit_command command;
    assert_int_equal(add_with_key(world, &command, 5, "k1"), 0);
    assert_false(command.replayed);
    add(world, &command, "a", 1);
    unsigned decided = counter_app_decide_count();
    assert_int_equal(
        kit_command(world->runtime, &command, "Add", " { \"counter\" : \"a\", \"by\" : 5 } ", "k1"), 0);
    assert_true(command.replayed);
    assert_int_equal(command.position, 1);
    assert_int_equal(command.event_count, 1);
    assert_string_equal(command.type, "CounterChanged");
    assert_string_equal(command.data, "{\"by\":5}");
    assert_string_equal(command.tags, "counter:a");
    assert_int_equal(counter_app_decide_count(), decided);
    assert_int_equal(value_of(world, "a"), 6);
}

static void a_key_is_known_after_reopening(void **state)
{
    struct world *world = *state;
    struct kit_command command;
    assert_int_equal(kit_command(world->runtime, &command, "Add", add_json("a", 9), NULL), 0);
    assert_int_equal(
        kit_command(world->runtime, &command, "Move", "{\"from\":\"a\",\"to\":\"b\",\"by\":2}", "k"), 0);
    reopen(world, NULL);
    assert_int_equal(
        kit_command(world->runtime, &command, "Move", "{\"from\":\"a\",\"to\":\"b\",\"by\":2}", "k"), 0);
    assert_true(command.replayed);
    assert_int_equal(command.event_count, 2);
    assert_int_equal(command.first_position, 2);
    assert_int_equal(command.position, 3);
    assert_int_equal(value_of(world, "b"), 2);
}

static void a_key_with_another_body_is_refused(void **state)
{
    struct world *world = *state;
    struct kit_command command;
    assert_int_equal(add_with_key(world, &command, 5, "k1"), 0);
    assert_int_equal(add_with_key(world, &command, 6, "k1"), COMMAND_E_KEY_REUSED);
    reopen(world, NULL);
    assert_int_equal(add_with_key(world, &command, 6, "k1"), COMMAND_E_KEY_REUSED);
    assert_int_equal(value_of(world, "a"), 5);
}

static void a_key_belongs_to_its_command_and_caller(void **state)
{
    struct world *world = *state;
    struct kit_command command;
    assert_int_equal(add_with_key(world, &command, 5, "k1"), 0);
    kit_command_submit(world->runtime, &command, "Add", add_json("a", 7), "k1", "somebody");
    kit_command_wait(&command);
    assert_int_equal(command.answer, 0);
    assert_false(command.replayed);
    assert_int_equal(
        kit_command(world->runtime, &command, "Move", "{\"from\":\"a\",\"to\":\"b\",\"by\":2}", "k1"), 0);
    assert_false(command.replayed);
    assert_int_equal(value_of(world, "a"), 10);
}

static void a_refusal_is_decided_anew(void **state)
{
    struct world *world = *state;
    struct kit_command command;
    assert_int_equal(add_with_key(world, &command, -3, "k1"), COMMAND_E_REJECTED);
    add(world, &command, "a", 5);
    assert_int_equal(add_with_key(world, &command, -3, "k1"), 0);
    assert_false(command.replayed);
    assert_int_equal(add_with_key(world, &command, -3, "k1"), 0);
    assert_true(command.replayed);
}

/* Sent twice before the first is answered: both are told the same, once it is durable. */
static void a_key_sent_again_while_in_progress_waits_for_the_first(void **state)
{
    struct world *world = *state;
    struct kit_command first, same, other, blocker;
    memory_store_hold(world->store);
    kit_command_submit(world->runtime, &blocker, "Add", add_json("x", 1), NULL, NULL);
    assert_true(memory_store_wait_held(world->store));
    kit_command_submit(world->runtime, &first, "Add", add_json("a", 5), "k", NULL);
    WAIT_UNTIL(queue_count(world) == 2);
    kit_command_submit(world->runtime, &same, "Add", add_json("a", 5), "k", NULL);
    WAIT_UNTIL(queue_count(world) == 3);
    kit_command_submit(world->runtime, &other, "Add", add_json("a", 6), "k", NULL);
    WAIT_UNTIL(queue_count(world) == 4);
    memory_store_release(world->store);
    kit_command_wait(&first);
    kit_command_wait(&same);
    kit_command_wait(&other);
    assert_int_equal(first.answer, 0);
    assert_int_equal(same.answer, 0);
    assert_true(same.replayed);
    assert_int_equal(same.position, first.position);
    assert_int_equal(other.answer, COMMAND_E_KEY_REUSED);
    assert_int_equal(value_of(world, "a"), 5);
}

/* COMMAND_KEY_SIZE_MAX, COMMAND_CALLER_SIZE_MAX */
static void a_key_has_rules(void **state)
{
    struct world *world = *state;
    struct kit_command command;
    char key[COMMAND_KEY_SIZE_MAX + 2], caller[COMMAND_CALLER_SIZE_MAX + 2];
    memset(key, 'k', sizeof(key));
    key[COMMAND_KEY_SIZE_MAX + 1] = '\0';
    assert_int_equal(add_with_key(world, &command, 1, key), COMMAND_E_KEY_INVALID);
    key[COMMAND_KEY_SIZE_MAX] = '\0';
    assert_int_equal(add_with_key(world, &command, 1, key), 0);
    assert_int_equal(add_with_key(world, &command, 1, ""), COMMAND_E_KEY_INVALID);
    assert_int_equal(add_with_key(world, &command, 1, "a\nb"), COMMAND_E_KEY_INVALID);
    assert_int_equal(add_with_key(world, &command, 1, "\xc3\xa9"), COMMAND_E_KEY_INVALID);

    memset(caller, 'c', sizeof(caller));
    caller[COMMAND_CALLER_SIZE_MAX + 1] = '\0';
    kit_command_submit(world->runtime, &command, "Add", add_json("a", 1), "k", caller);
    kit_command_wait(&command);
    assert_int_equal(command.answer, COMMAND_E_KEY_INVALID);
    caller[COMMAND_CALLER_SIZE_MAX] = '\0';
    kit_command_submit(world->runtime, &command, "Add", add_json("a", 1), key, caller);
    kit_command_wait(&command);
    assert_int_equal(command.answer, 0);
}

/* ---- when the log says no ---- */

/* C4: what was folded from a batch that failed is forgotten, by whoever asks next. */
static void a_decision_that_was_not_written_leaves_nothing_behind(void **state)
{
    struct world *world = *state;
    struct kit_command blocker, first, second;
    add(world, &first, "a", 1);
    memory_store_hold(world->store);
    kit_command_submit(world->runtime, &blocker, "Add", add_json("x", 1), NULL, NULL);
    assert_true(memory_store_wait_held(world->store));
    kit_command_submit(world->runtime, &first, "Add", add_json("a", 10), NULL, NULL);
    kit_command_submit(world->runtime, &second, "Add", add_json("a", -11), NULL, NULL);
    WAIT_UNTIL(queue_count(world) == 3);
    memory_store_script(world->store, LOG_FULL, 1, false); /* the batch after the one that is held */
    memory_store_release(world->store);
    kit_command_wait(&first);
    kit_command_wait(&second);
    assert_int_equal(first.answer, COMMAND_E_JOURNAL);
    assert_int_equal(first.journal_answer, JOURNAL_E_FULL);
    assert_int_equal(second.answer, COMMAND_E_JOURNAL);
    assert_int_equal(value_of(world, "a"), 1);
}

/* J4: a loser that lost against something that was not written has not lost. */
static void a_refusal_because_of_what_was_not_written_is_decided_anew(void **state)
{
    struct world *world = *state;
    struct kit_command blocker, first, second;
    add(world, &first, "a", 1);
    memory_store_hold(world->store);
    kit_command_submit(world->runtime, &blocker, "Add", add_json("x", 1), NULL, NULL);
    assert_true(memory_store_wait_held(world->store));
    kit_command_submit(world->runtime, &first, "Add", add_json("a", -1), NULL, NULL);
    WAIT_UNTIL(queue_count(world) == 2);
    kit_command_submit(world->runtime, &second, "Add", add_json("a", -1), NULL, NULL);
    WAIT_UNTIL(queue_count(world) == 3);
    memory_store_script(world->store, LOG_FULL, 1, false);
    memory_store_release(world->store);
    kit_command_wait(&first);
    kit_command_wait(&second);
    assert_int_equal(first.answer, COMMAND_E_JOURNAL);
    assert_int_equal(second.answer, 0);
    assert_int_equal(value_of(world, "a"), 0);
}

/* C4: another writer took the position that a state has in it already; that state must not be taken for true. */
static void a_decision_made_before_another_writers_event_is_made_again(void **state)
{
    struct world *world = *state;
    struct kit_command blocker, first, second;
    const struct bytes tag = BYTES_LITERAL("counter:a");
    const struct journal_event other = {.append_first = 3,
                                        .append_count = 1,
                                        .position = 3,
                                        .type = BYTES_LITERAL("CounterChanged"),
                                        .tags = &tag,
                                        .tag_count = 1,
                                        .data = BYTES_LITERAL("{\"by\":-1}")};
    uint8_t memory[512];
    size_t head_size = codec_head_size(&other), body_size = codec_body_size(&other);
    codec_write_head(&other, memory);
    codec_write_body(&other, memory + head_size);

    add(world, &first, "a", 1);
    memory_store_hold(world->store);
    kit_command_submit(world->runtime, &blocker, "Add", add_json("x", 1), NULL, NULL);
    assert_true(memory_store_wait_held(world->store));
    kit_command_submit(world->runtime, &first, "Add", add_json("a", 10), NULL, NULL);
    WAIT_UNTIL(queue_count(world) == 2);
    kit_command_submit(world->runtime, &second, "Add", add_json("a", -11), NULL, NULL);
    WAIT_UNTIL(queue_count(world) == 3);
    memory_store_intrude(world->store, bytes_make(memory, head_size),
                         bytes_make(memory + head_size, body_size));
    memory_store_release(world->store);
    kit_command_wait(&first);
    kit_command_wait(&second);
    assert_int_equal(first.answer, 0);
    assert_int_equal(first.position, 4);
    assert_int_equal(second.answer, COMMAND_E_REJECTED);
    /* Both were loaded anew, and either may have been quicker. Without the other writer's event it would be 11 or 1. */
    assert_true(strcmp(second.facts, "{\"value\":10}") == 0 || strcmp(second.facts, "{\"value\":0}") == 0);
    assert_int_equal(value_of(world, "a"), 10);
}

static void a_journal_that_writes_no_more_is_told(void **state)
{
    struct world *world = *state;
    struct kit_command command;
    add(world, &command, "a", 1);
    memory_store_script(world->store, LOG_FAILED, 1, false);
    assert_int_equal(add(world, &command, "a", 1), COMMAND_E_JOURNAL);
    assert_int_equal(command.journal_answer, JOURNAL_E_FAILED);
    assert_int_equal(add(world, &command, "a", 1), COMMAND_E_JOURNAL);
    assert_int_equal(command.journal_answer, JOURNAL_E_READ_ONLY);
    assert_true(command.detail[0] != '\0');
}

/* ---- applications that break the contract ---- */

static void a_broken_decision_stores_nothing_and_hurts_nobody(void **state)
{
    static const char *const ways[] = {"put first",       "not closed",   "closed twice", "not UTF-8",
                                       "same name twice", "no subject", "two subjects", "no name",      "bad type",     "system type",
                                       "bad stream",      "unknown kind", "too deep",     "too many events",
                                       "too many tags"};
    struct world *world = *state;
    struct kit_command command;
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        char json[128];
        snprintf(json, sizeof(json), "{\"counter\":\"a\",\"how\":\"%s\"}", ways[i]);
        assert_int_equal(kit_command(world->runtime, &command, "Break", json, NULL), COMMAND_E_APP);
        assert_true(strncmp(command.detail, "decide() of Break: ", 19) == 0);
    }
    assert_int_equal(kit_command(world->runtime, &command, "Tags", "{\"how\":\"too long\"}", NULL),
                     COMMAND_E_APP);
    assert_int_equal(journal_head(world->journal), 0);
    assert_int_equal(add(world, &command, "a", 1), 0);
}

/* DAYBOOK_STATE_SIZE_MAX: the tag is unusable, loudly; all others go on. */
static void a_state_above_its_limit_fails_its_own_tag_only(void **state)
{
    struct world *world = *state;
    struct kit_command command;
    assert_int_equal(
        kit_command(world->runtime, &command, "Grow", "{\"counter\":\"a\",\"size\":1000000}", NULL), 0);
    assert_int_equal(add(world, &command, "a", 1), 0);
    assert_int_equal(
        kit_command(world->runtime, &command, "Grow", "{\"counter\":\"a\",\"size\":16777217}", NULL), 0);
    assert_int_equal(add(world, &command, "a", 1), COMMAND_E_APP);
    assert_int_equal(add(world, &command, "a", 1), COMMAND_E_APP);
    assert_int_equal(add(world, &command, "b", 1), 0);
}

/* ---- the whole against the naive one ---- */

static unsigned pick(unsigned *seed, unsigned limit)
{
    *seed = *seed * 1103515245u + 12345u;
    return (*seed >> 16) % limit;
}

static void random_commands_end_as_in_the_naive_model(void **state)
{
    enum { COMMANDS = 3000, COUNTERS = 30 };
    struct world *world = *state;
    struct app_kit *kit = app_kit_new(counter_app);
    struct kit_command command;
    unsigned seed = 7;
    reopen(world,
           &(struct command_options){.cache_size_max = 1000}); /* a few states: the others are folded anew */
    for (int i = 0; i < COMMANDS; i++) {
        char json[128];
        bool move = pick(&seed, 3) == 0;
        if (move)
            snprintf(json, sizeof(json), "{\"from\":\"c%u\",\"to\":\"c%u\",\"by\":%u}", pick(&seed, COUNTERS),
                     pick(&seed, COUNTERS), 1 + pick(&seed, 6));
        else
            snprintf(json, sizeof(json), "{\"counter\":\"c%u\",\"by\":%d}", pick(&seed, COUNTERS),
                     (int)pick(&seed, 11) - 5);
        struct app_kit_answer expected = app_kit_command(kit, move ? "Move" : "Add", bytes_from_string(json));
        assert_int_equal(kit_command(world->runtime, &command, move ? "Move" : "Add", json, NULL),
                         expected.answer);
        assert_int_equal(command.event_count, expected.event_count);
        assert_int_equal(strlen(command.facts), expected.facts.size);
        assert_memory_equal(command.facts, expected.facts.data, expected.facts.size);
    }
    assert_int_equal(journal_head(world->journal), app_kit_event_count(kit));
    struct command_metrics metrics;
    command_metrics(world->runtime, &metrics);
    assert_true(metrics.cache_evictions > 100);
    app_kit_free(kit);
}

struct crowd {
    struct os_thread thread;
    struct world *world;
    unsigned seed;
    int accepted;
};

static void move_around(void *user)
{
    struct crowd *crowd = user;
    struct kit_command command;
    for (int i = 0; i < 200; i++) {
        char json[128];
        snprintf(json, sizeof(json), "{\"from\":\"c%u\",\"to\":\"c%u\",\"by\":%u}", pick(&crowd->seed, 8),
                 pick(&crowd->seed, 8), 1 + pick(&crowd->seed, 5));
        int answer = kit_command(crowd->world->runtime, &command, "Move", json, NULL);
        assert_true(answer == 0 || answer == COMMAND_E_REJECTED);
        crowd->accepted += answer == 0;
    }
}

/* Whatever the interleaving: read back in the journal's order, no counter was ever below zero, and nothing was lost. */
static void a_crowd_never_takes_more_than_there_is(void **state)
{
    enum { THREADS = 8, COUNTERS = 8 };
    struct world *world = *state;
    struct crowd crowd[THREADS];
    struct kit_command command;
    int accepted = 0, found = 0;
    int64_t values[COUNTERS] = {0}, total = 0;
    for (int i = 0; i < COUNTERS; i++) {
        char counter[16];
        snprintf(counter, sizeof(counter), "c%d", i);
        add(world, &command, counter, 4);
    }
    for (int i = 0; i < THREADS; i++) {
        crowd[i] = (struct crowd){.world = world, .seed = (unsigned)i};
        assert_ok(os_thread_start(&crowd[i].thread, "crowd", move_around, &crowd[i]));
    }
    for (int i = 0; i < THREADS; i++) {
        os_thread_join(&crowd[i].thread);
        accepted += crowd[i].accepted;
    }

    _cleanup_(journal_reader_freep) struct journal_reader *reader = NULL;
    assert_ok(journal_reader_new(world->journal, &(struct journal_read){0}, &reader));
    for (struct journal_event event; journal_reader_next(reader, &event) == 0; found++) {
        unsigned counter = event.tags[0].data[strlen("counter:c")] - (unsigned)'0';
        values[counter] += strtoll((const char *)event.data.data + strlen("{\"by\":"), NULL, 10);
        assert_true(values[counter] >= 0);
    }
    for (int i = 0; i < COUNTERS; i++)
        total += values[i];
    assert_int_equal(total, 4 * COUNTERS);
    assert_int_equal(found, COUNTERS + 2 * accepted);
}

/* ---- the runtime itself ---- */

static void steps_and_answers_are_counted(void **state)
{
    struct world *world = *state;
    struct kit_command command;
    struct command_metrics metrics;
    add_with_key(world, &command, 5, "k");
    add_with_key(world, &command, 5, "k");
    add(world, &command, "a", -6);
    kit_command(world->runtime, &command, "Add", "{}", NULL);
    WAIT_UNTIL((command_metrics(world->runtime, &metrics), metrics.waiting_count == 0));
    assert_int_equal(metrics.answers[0], 2);
    assert_int_equal(metrics.replays, 1);
    assert_int_equal(metrics.answers[COMMAND_E_REJECTED], 1);
    assert_int_equal(metrics.answers[COMMAND_E_INVALID], 1);
    assert_int_equal(metrics.steps[COMMAND_PARSE].count, 4);
    assert_int_equal(metrics.steps[COMMAND_VALIDATE].count, 4);
    assert_int_equal(metrics.steps[COMMAND_LOAD].count, 1);
    assert_int_equal(metrics.steps[COMMAND_APPEND].count, 3);
    assert_int_equal(metrics.cache_count, 1);
    assert_true(metrics.steps[COMMAND_DECIDE].ns_max <= metrics.steps[COMMAND_DECIDE].ns_total);
    for (int i = 0; i < COMMAND_E_COUNT; i++)
        assert_non_null(command_answer_name(i));
    for (int i = 0; i < COMMAND_STEP_COUNT; i++)
        assert_non_null(command_step_name((enum command_step)i));
}

/* command_options.waiting_count_max */
static void too_many_waiting_commands_are_refused(void **state)
{
    struct world *world = *state;
    struct kit_command first, second;
    reopen(world, &(struct command_options){.waiting_count_max = 1});
    memory_store_hold(world->store);
    kit_command_submit(world->runtime, &first, "Add", add_json("a", 1), NULL, NULL);
    assert_int_equal(add(world, &second, "a", 1), COMMAND_E_BUSY);
    memory_store_release(world->store);
    kit_command_wait(&first);
    assert_int_equal(first.answer, 0);
    struct command_metrics metrics;
    WAIT_UNTIL((command_metrics(world->runtime, &metrics), metrics.waiting_count == 0));
    assert_int_equal(add(world, &second, "a", 1), 0);
}

static void close_runtime(void *user)
{
    struct world *world = user;
    command_runtime_close(world->runtime);
}

/* C6: what was taken is answered as it deserves, what comes now is refused. */
static void closing_waits_for_what_was_taken(void **state)
{
    struct world *world = *state;
    struct kit_command taken, late;
    struct os_thread thread = {0};
    memory_store_hold(world->store);
    kit_command_submit(world->runtime, &taken, "Add", add_json("a", 1), NULL, NULL);
    assert_true(memory_store_wait_held(world->store));
    assert_ok(os_thread_start(&thread, "closer", close_runtime, world));
    WAIT_UNTIL(kit_command(world->runtime, &late, "Unheard", "{}", NULL) == COMMAND_E_CLOSING);
    assert_false(kit_command_is_done(&taken));
    memory_store_release(world->store);
    os_thread_join(&thread);
    assert_true(kit_command_is_done(&taken));
    assert_int_equal(taken.answer, 0);
    char error[256];
    assert_ok(command_runtime_new(world->journal, counter_app, NULL, &world->runtime, error));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_decision_is_stored_and_answered),
        TEST(events_of_one_decision_are_stored_together),
        TEST(a_refusal_has_rule_sentence_facts_and_position),
        TEST(nothing_to_do_answers_the_position_it_was_decided_at),
        TEST(a_tag_that_is_twice_in_a_boundary_has_one_state),
        TEST(what_is_not_a_command_is_told_apart),
        TEST(a_body_too_large_or_too_deep_is_malformed),
        TEST(of_racers_in_one_batch_exactly_one_wins),
        TEST(of_64_threads_exactly_one_takes_the_last),
        TEST(events_appended_by_others_count),
        TEST(too_much_news_for_a_turn_goes_back_to_load),
        TEST(turns_lost_again_and_again_end_in_contention),
        TEST(the_same_key_and_body_answer_the_first_positions),
        TEST(a_key_is_known_after_reopening),
        TEST(a_key_with_another_body_is_refused),
        TEST(a_key_belongs_to_its_command_and_caller),
        TEST(a_refusal_is_decided_anew),
        TEST(a_key_sent_again_while_in_progress_waits_for_the_first),
        TEST(a_key_has_rules),
        TEST(a_decision_that_was_not_written_leaves_nothing_behind),
        TEST(a_refusal_because_of_what_was_not_written_is_decided_anew),
        TEST(a_decision_made_before_another_writers_event_is_made_again),
        TEST(a_journal_that_writes_no_more_is_told),
        TEST(a_broken_decision_stores_nothing_and_hurts_nobody),
        TEST(a_state_above_its_limit_fails_its_own_tag_only),
        TEST(random_commands_end_as_in_the_naive_model),
        TEST(a_crowd_never_takes_more_than_there_is),
        TEST(steps_and_answers_are_counted),
        TEST(too_many_waiting_commands_are_refused),
        TEST(closing_waits_for_what_was_taken),
    };
    return cmocka_run_group_tests_name("runtime", tests, NULL, NULL);
}
