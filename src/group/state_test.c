/* The state of a group against a naive model, by dice: who gets what, what is good, and what is left after a crash. */

#include "lib/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "group/record.h"
#include "lib/dice.h"

enum {
    EVENT_COUNT = 120,
    KEY_COUNT = 6,
    CONSUMER_COUNT = 3,
    LEASE_NS = 50,
    TRIES_MAX = 3,
    TOKEN_COUNT = 64,
    TEXT_COUNT = 4096,
    RUN_COUNT = 60,
    STEP_COUNT = 600,
};

enum status { ABSENT, READY, OUT, DONE, PARKED };

/* What the model knows of one event. */
struct fate {
    enum status status, stored; /* now, and as it was written down */
    bool known;                 /* its keys were drawn */
    bool returned, stored_returned;
    uint64_t keys[2];
    size_t key_count;
    unsigned tries;
    uint64_t due_ns;
    struct group_token token;
};

struct world {
    struct group_state state;
    struct fate fates[EVENT_COUNT + 1];
    uint64_t head, now_ns;
    struct group_token old[TOKEN_COUNT]; /* tokens that were given out some time */
    size_t old_count;
    struct {
        const char *type;
        struct buffer data;
    } records[TEXT_COUNT];
    size_t record_count;
    struct group_definition definition;
    uint64_t acknowledged;
};

static struct world world;

/* ---- the model ---- */

static bool shares_key(const struct fate *a, const struct fate *b)
{
    for (size_t i = 0; i < a->key_count; i++) {
        for (size_t j = 0; j < b->key_count; j++) {
            if (a->keys[i] == b->keys[j])
                return true;
        }
    }
    return false;
}

/* By the words of G3. */
static bool may_be_given(uint64_t position)
{
    const struct fate *fate = &world.fates[position];

    if (fate->status != READY || fate->due_ns > world.now_ns)
        return false;
    for (uint64_t other = 1; other <= EVENT_COUNT; other++) {
        const struct fate *rival = &world.fates[other];
        bool alive = rival->status == OUT || (rival->status == READY && other < position);
        if (other != position && alive && shares_key(fate, rival))
            return false;
    }
    return true;
}

static void model_give_back(struct fate *fate, uint64_t due_ns)
{
    fate->status = fate->tries >= TRIES_MAX ? PARKED : READY;
    fate->due_ns = due_ns;
}

static void model_expire(void)
{
    for (uint64_t position = 1; position <= world.head; position++) {
        struct fate *fate = &world.fates[position];
        if (fate->status == OUT && fate->due_ns <= world.now_ns)
            model_give_back(fate, world.now_ns);
    }
}

/* ---- steps ---- */

static void begin(uint64_t cursor)
{
    uint8_t runs[HASH_SIP_KEY_SIZE];
    for (size_t i = 0; i < sizeof(runs); i++)
        runs[i] = (uint8_t)dice(256);
    group_state_init(&world.state, cursor, runs);
    world.state.lease_ns = LEASE_NS;
    world.state.tries_max = TRIES_MAX;
}

static void expire(void)
{
    size_t parked;

    group_state_expire(&world.state, world.now_ns, 7, &parked);
    model_expire();
}

static void draw(struct fate *fate)
{
    fate->known = true;
    fate->status = dice(4) == 0 ? ABSENT : READY; /* absent: not for the group */
    fate->key_count = dice(3);
    for (size_t i = 0; i < fate->key_count; i++)
        fate->keys[i] = dice(KEY_COUNT) + 1;
    if (fate->key_count == 2 && fate->keys[0] == fate->keys[1])
        fate->key_count = 1;
}

static void step_admit(void)
{
    if (world.head == EVENT_COUNT)
        return;
    struct fate *fate = &world.fates[++world.head];
    if (!fate->known)
        draw(fate);
    if (fate->status == ABSENT)
        group_state_pass(&world.state, world.head);
    else
        assert_int_equal(group_state_admit(&world.state, world.head, fate->keys, fate->key_count), 0);
}

static void step_fetch(void)
{
    struct group_delivery deliveries[8];
    size_t count = 0, max = dice(8) + 1;
    char name[8];

    expire();
    snprintf(name, sizeof(name), "c-%u", dice(CONSUMER_COUNT));
    assert_int_equal(
        group_state_fetch(&world.state, world.now_ns, bytes_from_string(name), max, deliveries, &count), 0);
    size_t given = 0;
    for (uint64_t position = 1; position <= world.head && given < max; position++) {
        if (!may_be_given(position))
            continue;
        assert_true(given < count); /* the model gives it: so does the state */
        assert_int_equal(deliveries[given].token.position, position);
        struct fate *fate = &world.fates[position];
        fate->status = OUT;
        fate->due_ns = world.now_ns + LEASE_NS;
        fate->token = deliveries[given].token;
        assert_int_equal(deliveries[given].tries, ++fate->tries);
        world.old[world.old_count++ % TOKEN_COUNT] = fate->token;
        given++;
    }
    assert_int_equal(count, given); /* and nothing else */
}

/* Some token: often one that is good, now and then an old one. */
static bool some_token(struct group_token *ret_token)
{
    uint64_t from = dice(EVENT_COUNT) + 1;

    if (dice(4) == 0 && world.old_count > 0) {
        *ret_token = world.old[dice(world.old_count < TOKEN_COUNT ? (uint32_t)world.old_count : TOKEN_COUNT)];
        return true;
    }
    for (uint64_t i = 0; i < EVENT_COUNT; i++) {
        const struct fate *fate = &world.fates[(from + i) % EVENT_COUNT + 1];
        *ret_token = fate->token;
        if (fate->status == OUT)
            return true;
    }
    return false;
}

static bool is_good(struct group_token token)
{
    const struct fate *fate = &world.fates[token.position];

    return fate->status == OUT && fate->token.serial == token.serial;
}

/* What is done to one or two tokens together: all or none of it happens. */
static void step_answer(void)
{
    struct group_token tokens[2];
    bool lost[2], good = true;
    size_t count = dice(2) + 1, parked = 0;
    uint64_t due_ns = world.now_ns + dice(2 * LEASE_NS);
    uint32_t what = dice(4);
    int r;

    expire();
    for (size_t i = 0; i < count; i++) {
        if (!some_token(&tokens[i]))
            return;
        good = good && is_good(tokens[i]);
    }
    if (what == 0)
        r = group_state_nack(&world.state, tokens, count, due_ns, BYTES_LITERAL("no"), 7, lost, &parked);
    else if (what == 1)
        r = group_state_extend(&world.state, tokens, count, due_ns + 1, lost);
    else
        r = group_state_ack(&world.state, tokens, count, lost);
    assert_int_equal(r, good ? 0 : GROUP_E_LOST);
    for (size_t i = 0; i < count; i++) {
        struct fate *fate = &world.fates[tokens[i].position];
        if (!good) {
            assert_int_equal(lost[i], !is_good(tokens[i]));
        } else if (what == 1) {
            fate->due_ns = due_ns + 1;
        } else if (fate->status == OUT && what == 0) {
            model_give_back(fate, due_ns);
        } else if (fate->status == OUT) {
            fate->status = DONE;
        }
    }
}

/* ---- writing down, and what is left of it ---- */

static void note(const char *type, int (*write)(struct buffer *out))
{
    assert_true(world.record_count < TEXT_COUNT);
    world.records[world.record_count].type = type;
    assert_int_equal(write(&world.records[world.record_count++].data), 0);
}

static int write_whole(struct buffer *out)
{
    return group_record_state(&world.definition, &world.state, out);
}

static int write_acked(struct buffer *out)
{
    return group_record_acked(&world.state, out);
}

static const struct group_parked *parked_now;
static int write_parked(struct buffer *out)
{
    return group_record_parked(parked_now, out);
}

static uint64_t replayed_now;
static int write_replayed(struct buffer *out)
{
    return group_record_replayed(&replayed_now, 1, out);
}

static void forget_records(void)
{
    for (size_t i = 0; i < world.record_count; i++)
        buffer_deinit(&world.records[i].data);
    world.record_count = 0;
}

static void step_write(void)
{
    bool whole = dice(4) == 0;

    if (whole) {
        forget_records();
        note(GROUP_STATE, write_whole);
    } else {
        note(GROUP_ACKED, write_acked);
    }
    for (size_t i = 0; i < world.state.parked_count; i++) {
        parked_now = &world.state.parked[i];
        if (!whole && !parked_now->stored)
            note(GROUP_PARKED, write_parked);
        world.state.parked[i].stored = true;
    }
    group_state_forget_acked(&world.state, world.state.acked_count);
    for (uint64_t position = 1; position <= EVENT_COUNT; position++) {
        struct fate *fate = &world.fates[position];
        fate->stored = fate->status == OUT ? READY : fate->status;
        fate->stored_returned = fate->returned && fate->stored == READY;
    }
}

static void step_replay(void)
{
    if (world.state.parked_count == 0)
        return;
    step_write(); /* as groups_replay() does it */
    replayed_now = world.state.parked[dice((uint32_t)world.state.parked_count)].position;
    struct fate *fate = &world.fates[replayed_now];
    assert_int_equal(fate->status, PARKED);
    note(GROUP_REPLAYED, write_replayed);
    assert_int_equal(group_state_return(&world.state, replayed_now, fate->keys, fate->key_count), 0);
    assert_null(group_state_find_parked(&world.state, replayed_now));
    fate->status = fate->stored = READY;
    fate->returned = fate->stored_returned = true;
    fate->tries = 0;
    fate->due_ns = 0;
}

static void model_crash(void)
{
    for (uint64_t position = 1; position <= EVENT_COUNT; position++) {
        struct fate *fate = &world.fates[position];
        if (!fate->known || fate->status == ABSENT)
            continue;
        fate->status = fate->stored == ABSENT ? READY : fate->stored;
        fate->returned = fate->stored_returned;
        fate->due_ns = 0;
        if (fate->status == READY)
            fate->tries = 0;
    }
}

/* All that was not written is forgotten, and the group is made anew from its records. */
static void step_crash(void)
{
    struct group_memory memory = {0};

    for (size_t i = 0; i < world.record_count; i++)
        assert_int_equal(group_memory_apply(&memory, bytes_from_string(world.records[i].type),
                                            buffer_bytes(&world.records[i].data)),
                         0);
    group_memory_finish(&memory);
    model_crash();
    group_state_deinit(&world.state);
    begin(memory.cursor);
    for (size_t i = 0; i < memory.parked_count; i++)
        assert_int_equal(group_state_add_parked(&world.state, &memory.parked[i]), 0);
    group_state_set_settled(&world.state, memory.settled, memory.settled_count);
    memory.settled = NULL;
    for (size_t i = 0; i < memory.returned_count; i++) {
        const struct fate *fate = &world.fates[memory.returned[i]];
        assert_int_equal(group_state_return(&world.state, memory.returned[i], fate->keys, fate->key_count),
                         0);
    }
    /* Some of what had been read is read again at once, the rest by and by. */
    uint64_t head = memory.cursor + dice((uint32_t)(world.head - memory.cursor) + 1);
    for (world.head = memory.cursor; world.head < head;)
        step_admit();
    group_memory_deinit(&memory);
}

/* ---- laws ---- */

/* G1 and G2, and what the model says is parked. */
static void check(void)
{
    size_t parked = 0, out = 0;

    for (uint64_t position = 1; position <= EVENT_COUNT; position++) {
        const struct fate *fate = &world.fates[position];
        parked += fate->status == PARKED;
        out += fate->status == OUT;
        if (fate->status == PARKED)
            assert_non_null(group_state_find_parked(&world.state, position));
        if (position <= world.state.cursor && (fate->status == READY || fate->status == OUT))
            assert_true(fate->returned);
    }
    assert_int_equal(world.state.parked_count, parked);
    assert_int_equal(world.state.out, out);
    assert_true(world.state.examined == world.head);
}

/* Everything that is left is delivered, in the end, and acknowledged. */
static void drain(void)
{
    while (world.head < EVENT_COUNT)
        step_admit();
    for (int i = 0; i < 10 * EVENT_COUNT; i++) {
        world.now_ns += LEASE_NS / 2;
        step_fetch();
        for (uint64_t position = 1; position <= EVENT_COUNT; position++) {
            struct fate *fate = &world.fates[position];
            bool lost;
            if (fate->status != OUT)
                continue;
            assert_int_equal(group_state_ack(&world.state, &fate->token, 1, &lost), 0);
            fate->status = DONE;
        }
    }
    for (uint64_t position = 1; position <= EVENT_COUNT; position++) {
        enum status status = world.fates[position].status;
        assert_true(status == ABSENT || status == DONE || status == PARKED);
    }
    check();
    assert_int_equal(world.state.count, 0);
    assert_true(world.state.cursor == EVENT_COUNT);
}

static void run(uint64_t seed, bool crashes)
{
    static void (*const steps[])(void) = {step_admit,  step_admit,  step_fetch, step_fetch,
                                          step_answer, step_answer, step_write, step_replay};

    dice_seed(seed);
    world = (struct world){.now_ns = 1000, .definition = {.lease_s = 1, .tries_max = TRIES_MAX}};
    begin(0);
    step_write();
    forget_records();
    note(GROUP_STATE, write_whole);
    for (int i = 0; i < STEP_COUNT; i++) {
        world.now_ns += dice(LEASE_NS / 4);
        if (crashes && dice(40) == 0)
            step_crash();
        else
            steps[dice(sizeof(steps) / sizeof(steps[0]))]();
        expire();
        check();
    }
    drain();
    group_state_deinit(&world.state);
    forget_records();
}

/* The law: G1 to G4, as the model says them in the plainest words. */
static void a_group_gives_out_what_the_model_gives_out(void **state)
{
    for (uint64_t seed = 1; seed <= RUN_COUNT; seed++)
        run(seed, false);
}

/* The law: after a crash all that was written is so, and all that was not is delivered again. */
static void what_was_written_survives_a_crash_and_the_rest_is_delivered_again(void **state)
{
    for (uint64_t seed = 1000; seed < 1000 + RUN_COUNT; seed++)
        run(seed, true);
}

/* ---- limits ---- */

static const uint8_t key[HASH_SIP_KEY_SIZE] = {1};
#define S UINT64_C(1000000000)

/* The law: what never reached its consumer is as if it had not been given. */
static void what_was_not_sent_is_given_again_and_no_try_is_counted(void **state)
{
    struct group_state group;
    struct group_delivery delivery;
    size_t count;
    bool lost;

    group_state_init(&group, 0, key);
    group.lease_ns = LEASE_NS;
    group.tries_max = TRIES_MAX;
    assert_int_equal(group_state_admit(&group, 1, NULL, 0), 0);
    for (int i = 0; i < 2 * TRIES_MAX; i++) {
        assert_int_equal(group_state_fetch(&group, 0, BYTES_LITERAL("c"), 1, &delivery, &count), 0);
        assert_int_equal(count, 1);
        assert_int_equal(delivery.tries, 1);
        group_state_undo(&group, &delivery.token, 1);
        assert_int_equal(group_state_ack(&group, &delivery.token, 1, &lost), GROUP_E_LOST);
    }
    assert_int_equal(group.out, 0);
    group_state_deinit(&group);
}

static void a_window_that_is_full_takes_more_when_its_front_is_done(void **state)
{
    struct group_state group;
    struct group_delivery delivery;
    size_t count;
    bool lost;

    group_state_init(&group, 0, key);
    group.lease_ns = LEASE_NS;
    group.tries_max = TRIES_MAX;
    for (uint64_t position = 1; group_state_room(&group) > 0; position++)
        assert_int_equal(group_state_admit(&group, position, NULL, 0), 0);
    assert_int_equal(group.count, GROUP_WINDOW_COUNT_MAX);
    assert_int_equal(group_state_fetch(&group, 0, BYTES_LITERAL("c"), 1, &delivery, &count), 0);
    assert_int_equal(group_state_ack(&group, &delivery.token, 1, &lost), 0);
    assert_int_equal(group_state_room(&group), 1);
    assert_true(group.cursor == 1);
    group_state_deinit(&group);
}

/* The law: when no more can be parked nothing is dropped; it goes on being delivered. */
static void events_beyond_the_parked_there_may_be_are_delivered_on(void **state)
{
    static struct group_delivery deliveries[GROUP_PARKED_COUNT_MAX + 1];
    static struct group_token tokens[GROUP_PARKED_COUNT_MAX + 1];
    static bool lost[GROUP_PARKED_COUNT_MAX + 1];
    struct group_state group;
    size_t count, parked;

    group_state_init(&group, 0, key);
    group.lease_ns = LEASE_NS;
    group.tries_max = 1;
    for (uint64_t position = 1; position <= GROUP_PARKED_COUNT_MAX + 1; position++)
        assert_int_equal(group_state_admit(&group, position, NULL, 0), 0);
    assert_int_equal(
        group_state_fetch(&group, 0, BYTES_LITERAL("c"), GROUP_PARKED_COUNT_MAX + 1, deliveries, &count), 0);
    for (size_t i = 0; i < count; i++)
        tokens[i] = deliveries[i].token;
    assert_int_equal(group_state_nack(&group, tokens, count, 0, BYTES_LITERAL("no"), 7, lost, &parked), 0);
    assert_int_equal(parked, GROUP_PARKED_COUNT_MAX);
    assert_string_equal(group_state_find_parked(&group, 1)->reason, "no");
    assert_int_equal(group_state_fetch(&group, 0, BYTES_LITERAL("c"), 10, deliveries, &count), 0);
    assert_int_equal(count, 0); /* not at once */
    assert_int_equal(group_state_fetch(&group, S, BYTES_LITERAL("c"), 10, deliveries, &count), 0);
    assert_int_equal(count, 1);
    assert_int_equal(deliveries[0].tries, 2);
    group_state_deinit(&group);
}

/* The law: it waits longer each time, so that what stands behind it has its turn, and it is said. */
static void what_cannot_be_parked_waits_longer_each_time_and_lets_others_pass(void **state)
{
    static const uint64_t waits[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300};
    struct group_state group;
    struct group_delivery delivery;
    struct group_stall stall;
    size_t count, parked;
    uint64_t now_ns = 5;
    bool lost;

    group_state_init(&group, 0, key);
    group.lease_ns = 400 * S;
    group.tries_max = 1;
    for (uint64_t position = 1; position <= GROUP_PARKED_COUNT_MAX; position++) {
        const struct group_parked old = {.position = position};
        assert_int_equal(group_state_add_parked(&group, &old), 0);
    }
    group_state_pass(&group, GROUP_PARKED_COUNT_MAX);
    assert_int_equal(group_state_admit(&group, GROUP_PARKED_COUNT_MAX + 1, NULL, 0), 0);
    assert_int_equal(group_state_admit(&group, GROUP_PARKED_COUNT_MAX + 2, NULL, 0), 0);
    for (size_t i = 0; i < sizeof(waits) / sizeof(waits[0]); i++) {
        assert_int_equal(group_state_fetch(&group, now_ns, BYTES_LITERAL("c"), 1, &delivery, &count), 0);
        assert_int_equal(count, 1);
        assert_int_equal(delivery.token.position, GROUP_PARKED_COUNT_MAX + 1);
        assert_int_equal(group_state_nack(&group, &delivery.token, 1, now_ns, BYTES_LITERAL("no"), 7, &lost, &parked), 0);
        assert_int_equal(parked, 0);
        assert_int_equal(group.due_ns, now_ns + waits[i] * S);
        assert_int_equal(group_state_stall(&group, now_ns, &stall), 0);
        assert_int_equal(stall.kind, GROUP_STALL_PARK);
        assert_int_equal(stall.position, GROUP_PARKED_COUNT_MAX + 1);
        assert_int_equal(stall.waiting, 1);
        group_state_expire(&group, now_ns += waits[i] * S - 1, 7, &parked);
        assert_int_equal(group_state_fetch(&group, now_ns, BYTES_LITERAL("c"), 1, &delivery, &count), 0);
        assert_int_equal(count, 1); /* the one behind it, which is given back unharmed */
        assert_int_equal(delivery.token.position, GROUP_PARKED_COUNT_MAX + 2);
        group_state_undo(&group, &delivery.token, 1);
        group_state_expire(&group, now_ns += 1, 7, &parked);
    }
    group_state_deinit(&group);
}

/* The law: an event that is held while all that may be read behind it is done stalls the group, and is named with who holds it. */
static void a_held_event_that_stalls_its_group_is_named(void **state)
{
    struct group_state group;
    struct group_delivery held, delivery;
    struct group_stall stall;
    size_t count;
    bool lost;

    group_state_init(&group, 0, key);
    group.lease_ns = LEASE_NS;
    group.tries_max = TRIES_MAX;
    for (uint64_t position = 1; group_state_room(&group) > 0; position++)
        assert_int_equal(group_state_admit(&group, position, NULL, 0), 0);
    assert_int_equal(group_state_fetch(&group, 0, BYTES_LITERAL("slow"), 1, &held, &count), 0);
    assert_int_equal(group_state_stall(&group, 0, &stall), 0);
    assert_int_equal(stall.kind, GROUP_MOVES);
    for (size_t i = 1; i < GROUP_WINDOW_COUNT_MAX; i++) {
        assert_int_equal(group_state_fetch(&group, 0, BYTES_LITERAL("c"), 1, &delivery, &count), 0);
        assert_int_equal(group_state_ack(&group, &delivery.token, 1, &lost), 0);
    }
    assert_int_equal(group_state_stall(&group, 0, &stall), 0);
    assert_int_equal(stall.kind, GROUP_STALL_WINDOW);
    assert_int_equal(stall.position, 1);
    assert_string_equal(stall.consumer, "slow");
    assert_int_equal(group_state_ack(&group, &held.token, 1, &lost), 0);
    assert_int_equal(group_state_stall(&group, 0, &stall), 0);
    assert_int_equal(stall.kind, GROUP_MOVES);
    group_state_deinit(&group);
}

/* G4: who has some tokens cannot tell the next one: not the same distance apart, not of another group's key. */
static void a_token_cannot_be_told_from_the_ones_before(void **state)
{
    static const uint8_t other_key[HASH_SIP_KEY_SIZE] = {2};
    struct group_state group, other;
    struct group_delivery a[3], b;
    size_t count;
    bool lost;

    group_state_init(&group, 0, key);
    group_state_init(&other, 0, other_key);
    group.tries_max = other.tries_max = TRIES_MAX;
    group.lease_ns = other.lease_ns = LEASE_NS;
    for (uint64_t position = 1; position <= 3; position++) {
        assert_int_equal(group_state_admit(&group, position, NULL, 0), 0);
        assert_int_equal(group_state_admit(&other, position, NULL, 0), 0);
    }
    assert_int_equal(group_state_fetch(&group, 0, BYTES_LITERAL("c"), 3, a, &count), 0);
    assert_int_equal(group_state_fetch(&other, 0, BYTES_LITERAL("c"), 1, &b, &count), 0);
    assert_true(a[1].token.serial - a[0].token.serial != a[2].token.serial - a[1].token.serial);
    assert_true(a[0].token.serial != b.token.serial);
    struct group_token guess = {.position = 3, .serial = a[1].token.serial + 1};
    assert_int_equal(group_state_ack(&group, &guess, 1, &lost), GROUP_E_LOST);
    group_state_deinit(&group);
    group_state_deinit(&other);
}

static void a_consumer_too_many_waits_until_another_has_nothing(void **state)
{
    struct group_state group;
    struct group_delivery delivery, first = {0};
    char name[16];
    size_t count;
    bool lost;

    group_state_init(&group, 0, key);
    group.lease_ns = LEASE_NS;
    group.tries_max = 1;
    for (uint64_t i = 0; i <= GROUP_CONSUMER_COUNT_MAX; i++) {
        snprintf(name, sizeof(name), "c-%d", (int)i);
        assert_int_equal(group_state_admit(&group, i + 1, NULL, 0), 0);
        int r = group_state_fetch(&group, 0, bytes_from_string(name), 1, &delivery, &count);
        assert_int_equal(r, i < GROUP_CONSUMER_COUNT_MAX ? 0 : GROUP_E_CONSUMERS);
        if (i == 0)
            first = delivery;
    }
    assert_int_equal(group_state_ack(&group, &first.token, 1, &lost), 0);
    assert_int_equal(group_state_fetch(&group, 0, BYTES_LITERAL("new"), 1, &delivery, &count), 0);
    assert_int_equal(count, 1);
    group_state_deinit(&group);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_group_gives_out_what_the_model_gives_out),
        cmocka_unit_test(what_was_written_survives_a_crash_and_the_rest_is_delivered_again),
        cmocka_unit_test(what_was_not_sent_is_given_again_and_no_try_is_counted),
        cmocka_unit_test(a_window_that_is_full_takes_more_when_its_front_is_done),
        cmocka_unit_test(events_beyond_the_parked_there_may_be_are_delivered_on),
        cmocka_unit_test(what_cannot_be_parked_waits_longer_each_time_and_lets_others_pass),
        cmocka_unit_test(a_held_event_that_stalls_its_group_is_named),
        cmocka_unit_test(a_token_cannot_be_told_from_the_ones_before),
        cmocka_unit_test(a_consumer_too_many_waits_until_another_has_nothing),
    };
    return cmocka_run_group_tests_name("group/state", tests, NULL, NULL);
}
