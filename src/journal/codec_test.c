/* What is written is read again; what was not written by us is refused by name. */
#include "lib/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>

#include "journal/codec.h"

static const struct bytes some_tags[] = {{(const uint8_t *)"room:1", 6}, {(const uint8_t *)"room:2", 6}};

static struct journal_event some_event(void)
{
    struct journal_event event = {.position = 7,
                                  .version = 3,
                                  .time_us = 1700000000123456,
                                  .append_first = 6,
                                  .append_count = 2,
                                  .stream = BYTES_LITERAL("room-1"),
                                  .type = BYTES_LITERAL("RoomBooked"),
                                  .data = BYTES_LITERAL("{\"nights\":2}"),
                                  .meta = BYTES_LITERAL("{\"who\":\"me\"}"),
                                  .tags = some_tags,
                                  .tag_count = 2,
                                  .key = BYTES_LITERAL("BookRoom k1"),
                                  .key_hash = BYTES_LITERAL("0123456789abcdef")};
    memset(event.id, 0xa5, sizeof(event.id));
    return event;
}

static struct log_record record_of(const struct journal_event *event, uint8_t *memory)
{
    struct log_record record = {.position = event->position};
    codec_write_head(event, memory);
    record.head = bytes_make(memory, codec_head_size(event));
    codec_write_body(event, memory + record.head.size);
    record.body = bytes_make(memory + record.head.size, codec_body_size(event));
    return record;
}

static void assert_bytes(struct bytes a, struct bytes b)
{
    assert_int_equal(a.size, b.size);
    assert_true(bytes_equal(a, b));
}

static void assert_same(const struct journal_event *a, const struct journal_event *b)
{
    assert_int_equal(a->position, b->position);
    assert_int_equal(a->version, b->version);
    assert_int_equal(a->time_us, b->time_us);
    assert_int_equal(a->append_first, b->append_first);
    assert_int_equal(a->append_count, b->append_count);
    assert_memory_equal(a->id, b->id, 16);
    assert_bytes(a->stream, b->stream);
    assert_bytes(a->type, b->type);
    assert_bytes(a->content_type, b->content_type);
    assert_bytes(a->data, b->data);
    assert_bytes(a->meta, b->meta);
    assert_bytes(a->key, b->key);
    assert_bytes(a->key_hash, b->key_hash);
    assert_int_equal(a->tag_count, b->tag_count);
    for (size_t i = 0; i < a->tag_count; i++)
        assert_bytes(a->tags[i], b->tags[i]);
}

static void an_event_is_read_as_it_was_written(void **state)
{
    uint8_t memory[1024];
    struct codec_tags tags;
    struct journal_event event = some_event(), read;
    struct log_record record = record_of(&event, memory);
    assert_ok(codec_read(&record, &tags, &read, NULL));
    assert_same(&event, &read);

    struct journal_event plain = {
        .position = 1, .append_first = 1, .append_count = 1, .type = BYTES_LITERAL("X")};
    record = record_of(&plain, memory);
    assert_ok(codec_read(&record, &tags, &read, NULL));
    assert_same(&plain, &read);
    assert_true(codec_ends_append(&record));
}

static void a_stub_keeps_its_head_and_has_no_data(void **state)
{
    uint8_t memory[1024];
    struct codec_tags tags;
    struct journal_event event = some_event(), read;
    struct log_record record = record_of(&event, memory);
    record.flags |= LOG_RECORD_STUB;
    record.body = (struct bytes){0};
    assert_ok(codec_read(&record, &tags, &read, NULL));
    assert_true(read.stub);
    assert_bytes(read.type, event.type);
    assert_int_equal(read.data.size, 0);
    assert_int_equal(read.meta.size, 0);
}

static void a_head_or_body_cut_anywhere_is_damage(void **state)
{
    uint8_t memory[1024];
    struct codec_tags tags;
    struct journal_event event = some_event(), read;
    struct log_record whole = record_of(&event, memory);
    for (size_t size = 0; size < whole.head.size; size++) {
        struct log_record cut = whole;
        const char *rule = NULL;
        cut.head.size = size;
        assert_int_equal(codec_read(&cut, &tags, &read, &rule), CODEC_E_DAMAGED);
        assert_non_null(rule);
    }
    for (size_t size = 0; size < CODEC_BODY_FIXED_SIZE + event.meta.size; size++) {
        struct log_record cut = whole;
        cut.body.size = size;
        assert_int_equal(codec_read(&cut, &tags, &read, NULL), CODEC_E_DAMAGED);
    }
    whole.head.size++;
    assert_int_equal(codec_read(&whole, &tags, &read, NULL), CODEC_E_DAMAGED);
}

static void a_newer_format_is_refused_as_newer(void **state)
{
    uint8_t memory[1024];
    struct codec_tags tags;
    struct journal_event event = some_event(), read;
    struct log_record record = record_of(&event, memory);
    memory[0] = CODEC_FORMAT + 1;
    assert_int_equal(codec_read(&record, &tags, &read, NULL), CODEC_E_NEWER);
    memory[0] = CODEC_FORMAT;
    memory[record.head.size] = CODEC_FORMAT_SEALED + 1;
    assert_int_equal(codec_read(&record, &tags, &read, NULL), CODEC_E_NEWER);
}

/* Each broken rule of docs/formats/event.md, by a byte of the head that breaks it. */
static void each_rule_of_the_head_is_checked(void **state)
{
    static const struct {
        size_t at;
        uint8_t value;
    } breaks[] = {
        {1, 0xff},  /* unknown flags */
        {1, 2},     /* a version outside of a stream */
        {1, 1},     /* a key without its flag */
        {2, 2},     /* index not below count */
        {4, 0},     /* no events in the append */
        {5, 0xff},  /* too many events in the append */
        {7, 0xff},  /* too many tags */
        {32, 0},    /* version 0 in a stream */
        {40, 0},    /* no type */
        {45, 0xff}, /* key too long */
        {46, 1},    /* reserved */
        {48, 0x01}, /* a control character in the type */
        {58, '/'},  /* a slash in the stream */
    };
    for (size_t i = 0; i < sizeof(breaks) / sizeof(breaks[0]); i++) {
        uint8_t memory[1024];
        struct codec_tags tags;
        struct journal_event event = some_event(), read;
        struct log_record record = record_of(&event, memory);
        memory[breaks[i].at] = breaks[i].value;
        assert_int_equal(codec_read(&record, &tags, &read, NULL), CODEC_E_DAMAGED);
    }
}

static void tags_out_of_order_are_damage(void **state)
{
    uint8_t memory[1024];
    struct codec_tags tags;
    struct journal_event event = some_event(), read;
    struct log_record record = record_of(&event, memory);
    memory[record.head.size - 1] = '0'; /* room:1 room:0 */
    assert_int_equal(codec_read(&record, &tags, &read, NULL), CODEC_E_DAMAGED);
    memory[record.head.size - 1] = '1'; /* the same twice */
    assert_int_equal(codec_read(&record, &tags, &read, NULL), CODEC_E_DAMAGED);
}

/* The golden record: format 1 as it was first written. If this fails, the format has changed without a new number. */
static void the_golden_record_of_format_1_is_written_and_read(void **state)
{
    static uint8_t golden[4096];
    uint8_t memory[1024];
    const char *path = getenv("CODEC_CORPUS");
    char name[4096];
    struct journal_event event = some_event(), read;
    struct codec_tags tags;
    struct log_record record = record_of(&event, memory);
    assert_non_null(path);
    snprintf(name, sizeof(name), "%s/golden-1.bin", path);
    FILE *file = fopen(name, "rb");
    if (!file && getenv("CODEC_GOLDEN_WRITE")) {
        /* One record as the fuzzer takes it: position, flags and size of the head, head, body. */
        uint8_t front[16] = {7};
        bytes_put_u32(front + 12, (uint32_t)record.head.size);
        file = fopen(name, "wb");
        fwrite(front, 1, sizeof(front), file);
        fwrite(memory, 1, record.head.size + record.body.size, file);
        fclose(file);
        file = fopen(name, "rb");
    }
    assert_non_null(file);
    size_t size = fread(golden, 1, sizeof(golden), file);
    fclose(file);
    assert_int_equal(size, 16 + record.head.size + record.body.size);
    assert_memory_equal(golden + 16, memory, size - 16);
    struct log_record kept = {.position = bytes_get_u64(golden),
                              .head = bytes_make(golden + 16, bytes_get_u32(golden + 12))};
    kept.body = bytes_make(golden + 16 + kept.head.size, size - 16 - kept.head.size);
    assert_ok(codec_read(&kept, &tags, &read, NULL));
    assert_same(&event, &read);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_event_is_read_as_it_was_written),
        cmocka_unit_test(a_stub_keeps_its_head_and_has_no_data),
        cmocka_unit_test(a_head_or_body_cut_anywhere_is_damage),
        cmocka_unit_test(a_newer_format_is_refused_as_newer),
        cmocka_unit_test(each_rule_of_the_head_is_checked),
        cmocka_unit_test(tags_out_of_order_are_damage),
        cmocka_unit_test(the_golden_record_of_format_1_is_written_and_read),
    };
    return cmocka_run_group_tests_name("journal/codec", tests, NULL, NULL);
}
