/* The wire between a sender and a decoder, without a network. */
#include "lib/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "lib/journal_kit.h"
#include "replica/wire.h"
#include "replica/wire_format.h"

struct fixture {
    struct memory_store *leader_store;
    struct journal *leader;
    struct wire_decoder *decoder;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    f->leader_store = memory_store_new();
    f->leader = kit_open(f->leader_store, false);
    assert_ok(wire_decoder_new(&f->decoder));
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    wire_decoder_free(f->decoder);
    journal_close(f->leader);
    memory_store_free(f->leader_store);
    free(f);
    return 0;
}

static void append(struct fixture *f, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        assert_ok(kit_append(f->leader, "s", "T", "a b", "{\"n\":1}", NULL));
}

/* Everything the sender has, until there is no more. */
static void send_all(struct wire_sender *sender, struct buffer *out)
{
    int r;
    while ((r = wire_sender_fill(sender, out)) == 0)
        continue;
    assert_int_equal(r, WIRE_E_MORE);
}

static void everything_sent_arrives_verbatim_in_any_pieces(void **state)
{
    struct fixture *f = *state;
    struct wire_sender *sender = NULL;
    _cleanup_(buffer_deinit) struct buffer out = {0};
    uint64_t position = 0;
    struct log_chain chain, expected;
    append(f, 5000);
    assert_ok(wire_sender_new(f->leader, 0, &sender));
    send_all(sender, &out);
    assert_int_equal(wire_sender_position(sender), 5000);
    for (size_t at = 0; at < out.size; at += 777) {
        struct wire_message message;
        int r;
        assert_ok(wire_decoder_feed(f->decoder, bytes_slice(buffer_bytes(&out), at, 777)));
        while ((r = wire_decoder_next(f->decoder, &message)) == 0) {
            if (message.kind == WIRE_HELLO) {
                struct journal_id id = journal_id(f->leader);
                assert_memory_equal(message.journal.bytes, id.bytes, sizeof(id.bytes));
                chain = message.chain;
            }
            for (size_t i = 0; i < message.count; i++) {
                assert_int_equal(message.records[i].position, ++position);
                log_chain_step(&chain, &message.records[i], &chain);
            }
            assert_int_equal(message.head, 5000);
        }
        assert_int_equal(r, WIRE_E_MORE);
    }
    assert_int_equal(position, 5000);
    assert_ok(journal_chain_at(f->leader, 5000, &expected));
    assert_memory_equal(chain.bytes, expected.bytes,
                        sizeof(chain.bytes)); /* which covers every byte of every record */
    wire_sender_free(sender);
}

/* What was taken away at the leader travels as what is left of it, and the chain goes on all the same. */
static void a_stub_travels_as_a_stub(void **state)
{
    struct fixture *f = *state;
    struct wire_sender *sender = NULL;
    _cleanup_(buffer_deinit) struct buffer out = {0};
    struct wire_message message;
    struct log_replaced replaced;
    struct log_chain chain = {0}, expected;
    append(f, 3);
    assert_ok(journal_chain_at(f->leader, 3, &expected));
    journal_close(f->leader);
    struct log *log = memory_log_open(f->leader_store, false);
    assert_ok(log_replace(log, &(struct log_range){2, 2}, 1, 0, &replaced));
    assert_ok(log_close(log));
    f->leader = kit_open(f->leader_store, false);
    assert_ok(wire_sender_new(f->leader, 0, &sender));
    send_all(sender, &out);
    wire_sender_free(sender);
    assert_ok(wire_decoder_feed(f->decoder, buffer_bytes(&out)));
    assert_ok(wire_decoder_next(f->decoder, &message));
    assert_ok(wire_decoder_next(f->decoder, &message));
    assert_int_equal(message.count, 3);
    assert_int_equal(message.records[1].flags, LOG_RECORD_STUB);
    assert_int_equal(message.records[1].body.size, 0);
    assert_true(message.records[1].body_size > 0);
    for (size_t i = 0; i < 3; i++)
        log_chain_step(&chain, &message.records[i], &chain);
    assert_memory_equal(chain.bytes, expected.bytes, sizeof(chain.bytes));
}

static void a_sender_goes_on_when_the_head_moves_and_beats_in_between(void **state)
{
    struct fixture *f = *state;
    struct wire_sender *sender = NULL;
    _cleanup_(buffer_deinit) struct buffer out = {0};
    struct wire_message message;
    append(f, 3);
    assert_ok(wire_sender_new(f->leader, 2, &sender));
    send_all(sender, &out);
    assert_ok(wire_sender_beat(sender, &out));
    append(f, 2);
    send_all(sender, &out);
    assert_ok(wire_decoder_feed(f->decoder, buffer_bytes(&out)));
    assert_ok(wire_decoder_next(f->decoder, &message));
    assert_int_equal(message.kind, WIRE_HELLO);
    assert_int_equal(message.after, 2);
    assert_ok(wire_decoder_next(f->decoder, &message));
    assert_int_equal(message.count, 1);
    assert_ok(wire_decoder_next(f->decoder, &message));
    assert_int_equal(message.kind, WIRE_HEARTBEAT);
    assert_int_equal(message.head, 3);
    assert_ok(wire_decoder_next(f->decoder, &message));
    assert_int_equal(message.count, 2);
    assert_int_equal(message.records[1].position, 5);
    assert_int_equal(wire_decoder_next(f->decoder, &message), WIRE_E_MORE);
    wire_sender_free(sender);
}

static void a_question_beyond_the_head_is_answered_with_a_hello_alone(void **state)
{
    struct fixture *f = *state;
    struct wire_sender *sender = NULL;
    _cleanup_(buffer_deinit) struct buffer out = {0};
    struct wire_message message;
    append(f, 3);
    assert_ok(wire_sender_new(f->leader, 7, &sender));
    send_all(sender, &out);
    assert_int_equal(wire_sender_position(sender), 0);
    assert_ok(wire_decoder_feed(f->decoder, buffer_bytes(&out)));
    assert_ok(wire_decoder_next(f->decoder, &message));
    assert_int_equal(message.after, 7);
    assert_int_equal(message.head, 3);
    wire_sender_free(sender);
}

/* Every single byte counts: flip any of them, and the stream is refused or (in a part that was not read yet) waits. */
static void a_flipped_byte_anywhere_is_refused(void **state)
{
    struct fixture *f = *state;
    struct wire_sender *sender = NULL;
    _cleanup_(buffer_deinit) struct buffer out = {0};
    append(f, 2);
    assert_ok(wire_sender_new(f->leader, 0, &sender));
    send_all(sender, &out);
    wire_sender_free(sender);
    for (size_t at = 0; at < out.size; at++) {
        struct wire_decoder *decoder = NULL;
        struct wire_message message;
        int r;
        out.data[at] ^= 0x10;
        assert_ok(wire_decoder_new(&decoder));
        assert_ok(wire_decoder_feed(decoder, buffer_bytes(&out)));
        while ((r = wire_decoder_next(decoder, &message)) == 0)
            continue;
        assert_true(r == WIRE_E_INVALID || r == WIRE_E_NEWER);
        assert_int_equal(wire_decoder_next(decoder, &message), r); /* and stays so */
        wire_decoder_free(decoder);
        out.data[at] ^= 0x10;
    }
}

static void a_newer_format_is_named(void **state)
{
    struct fixture *f = *state;
    struct wire_sender *sender = NULL;
    _cleanup_(buffer_deinit) struct buffer out = {0};
    struct wire_message message;
    assert_ok(wire_sender_new(f->leader, 0, &sender));
    send_all(sender, &out);
    wire_sender_free(sender);
    bytes_put_u32(out.data + HELLO_FORMAT, 2);
    assert_ok(wire_decoder_feed(f->decoder, buffer_bytes(&out)));
    assert_int_equal(wire_decoder_next(f->decoder, &message), WIRE_E_NEWER);
    assert_string_equal(wire_decoder_error(f->decoder), "the leader speaks format 2, this daybook 1");
}

/* Writes the corpus of the fuzzer when asked to: WIRE_CORPUS=FOLDER. */
static void a_stream_for_the_corpus(void **state)
{
    struct fixture *f = *state;
    struct wire_sender *sender = NULL;
    _cleanup_(buffer_deinit) struct buffer out = {0};
    const char *folder = getenv("WIRE_CORPUS");
    append(f, 3);
    assert_ok(wire_sender_new(f->leader, 0, &sender));
    assert_ok(buffer_append(&out, folder ? "\xff\x01" : "", folder ? 2 : 0));
    send_all(sender, &out);
    assert_ok(wire_sender_beat(sender, &out));
    wire_sender_free(sender);
    if (folder) {
        char path[512];
        (void)snprintf(path, sizeof(path), "%s/three_records", folder);
        FILE *file = fopen(path, "w");
        assert_non_null(file);
        assert_int_equal(fwrite(out.data, 1, out.size, file), out.size);
        assert_ok(fclose(file));
    }
    assert_true(out.size > WIRE_HELLO_SIZE + 2 * WIRE_BLOCK_SIZE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define WIRE_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        WIRE_TEST(everything_sent_arrives_verbatim_in_any_pieces),
        WIRE_TEST(a_stub_travels_as_a_stub),
        WIRE_TEST(a_sender_goes_on_when_the_head_moves_and_beats_in_between),
        WIRE_TEST(a_question_beyond_the_head_is_answered_with_a_hello_alone),
        WIRE_TEST(a_flipped_byte_anywhere_is_refused),
        WIRE_TEST(a_newer_format_is_named),
        WIRE_TEST(a_stream_for_the_corpus),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
