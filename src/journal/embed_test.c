/* The library as a program has it: the public header, the shared object, and a folder. */
#include "lib/cmocka_all.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <daybook/daybook.h>

static char folder[] = "/tmp/daybook-embed-XXXXXX";

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
    return remove(path);
}

static int set_up(void **state)
{
    memcpy(folder, "/tmp/daybook-embed-XXXXXX", sizeof(folder));
    return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **state)
{
    return nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static struct daybook *open_book(void)
{
    struct daybook *book = NULL;
    char error[DAYBOOK_ERROR_SIZE] = "";
    int r = daybook_open(folder, NULL, &book, error);
    if (r != 0)
        print_message("%d %s\n", r, error);
    assert_ok(r);
    return book;
}

static int append_one(struct daybook *book, const char *stream, const char *type,
                      struct daybook_result *ret_result)
{
    static const struct daybook_bytes tag = {"room:1", 6};
    struct daybook_event_new event = {.stream = {stream, strlen(stream)},
                                      .type = {type, strlen(type)},
                                      .tags = &tag,
                                      .tag_count = 1,
                                      .data = DAYBOOK_BYTES("{\"a\":1}")};
    struct daybook_append append = {.events = &event, .event_count = 1};
    return daybook_append(book, &append, ret_result);
}

static void what_is_appended_is_read_also_after_reopening(void **state)
{
    struct daybook *book = open_book();
    struct daybook_result result;
    struct daybook_reader *reader;
    struct daybook_event_stored event;
    assert_ok(append_one(book, "s", "A", &result));
    assert_int_equal(result.first, 1);
    assert_ok(append_one(book, "", "B", NULL));
    daybook_close(book);
    book = open_book();
    assert_int_equal(daybook_head(book), 2);
    assert_int_equal(daybook_stream_version(book, DAYBOOK_BYTES("s")), 1);
    assert_ok(daybook_reader_new(book, NULL, &reader));
    assert_ok(daybook_reader_next(reader, &event));
    assert_int_equal(event.position, 1);
    assert_int_equal(event.version, 1);
    assert_memory_equal(event.data.data, "{\"a\":1}", 7);
    assert_memory_equal(event.tags[0].data, "room:1", 6);
    assert_ok(daybook_reader_next(reader, &event));
    assert_int_equal(daybook_reader_next(reader, &event), DAYBOOK_E_END);
    assert_int_equal(daybook_reader_position(reader), 2);
    assert_int_equal(daybook_wait(book, 2, 1), DAYBOOK_E_TIMEOUT);
    assert_ok(append_one(book, "s", "C", NULL));
    assert_ok(daybook_wait(book, 2, 1000));
    assert_ok(daybook_reader_next(reader, &event));
    assert_memory_equal(event.type.data, "C", 1);
    daybook_reader_free(reader);
    daybook_close(book);
}

static bool is_stream(const struct daybook_event_stored *event, const char *stream)
{
    return event->stream.size == strlen(stream) && memcmp(event->stream.data, stream, event->stream.size) == 0;
}

/* The law: a reader that waits is a subscription: what matches, in order, without a gap, and nothing else. */
static void a_subscription_by_prefix_gets_what_is_there_and_what_comes(void **state)
{
    struct daybook *book = open_book();
    const struct daybook_read rooms = {.stream_prefix = DAYBOOK_BYTES("room-")};
    struct daybook_reader *reader;
    struct daybook_event_stored event;
    assert_ok(append_one(book, "room-1", "A", NULL));
    assert_ok(append_one(book, "guest-1", "A", NULL));
    assert_ok(append_one(book, "room-2", "A", NULL));
    assert_ok(daybook_reader_new(book, &rooms, &reader));
    assert_ok(daybook_reader_wait(reader, 1000, &event));
    assert_true(is_stream(&event, "room-1"));
    assert_ok(daybook_reader_wait(reader, 1000, &event));
    assert_true(is_stream(&event, "room-2"));
    assert_int_equal(daybook_reader_wait(reader, 1, &event), DAYBOOK_E_TIMEOUT);
    assert_ok(append_one(book, "guest-2", "A", NULL));
    assert_int_equal(daybook_reader_wait(reader, 1, &event), DAYBOOK_E_TIMEOUT);
    assert_int_equal(daybook_reader_position(reader), 4);
    assert_ok(append_one(book, "room-3", "A", NULL));
    assert_ok(daybook_reader_wait(reader, 1000, &event));
    assert_int_equal(event.position, 5);
    daybook_reader_free(reader);
    daybook_close(book);
}

static void a_guarded_append_is_told_everything_that_failed(void **state)
{
    struct daybook *book = open_book();
    struct daybook_conflict conflicts[1];
    struct daybook_bytes tag = DAYBOOK_BYTES("room:1");
    struct daybook_item item = {.tags = &tag, .tag_count = 1};
    struct daybook_expectation expectation = {.stream = DAYBOOK_BYTES("s"), .expect = DAYBOOK_EXPECT_NONE};
    struct daybook_event_new event = {.type = DAYBOOK_BYTES("B"), .data = DAYBOOK_BYTES("1")};
    struct daybook_append append = {.events = &event,
                                    .event_count = 1,
                                    .expectations = &expectation,
                                    .expectation_count = 1,
                                    .items = &item,
                                    .item_count = 1,
                                    .conflicts = conflicts,
                                    .conflict_count_max = 1};
    struct daybook_result result;
    assert_ok(append_one(book, "s", "A", NULL));
    assert_int_equal(daybook_append(book, &append, &result), DAYBOOK_E_CONFLICT);
    assert_int_equal(result.conflict_count, 2);
    assert_int_equal(conflicts[0].actual, 1);
    assert_memory_equal(conflicts[0].stream.data, "s", 1);
    assert_true(strlen(result.detail) > 10);
    append.after = 1;
    expectation.expect = DAYBOOK_EXPECT_VERSION;
    expectation.version = 1;
    assert_ok(daybook_append(book, &append, &result));
    event.type.size = 0;
    assert_int_equal(daybook_append(book, &append, &result), DAYBOOK_E_INVALID);
    daybook_close(book);
}

static void a_second_writer_is_refused_and_a_reader_is_not(void **state)
{
    struct daybook *book = open_book(), *other = NULL;
    struct daybook_options read_only = {.read_only = true};
    char error[DAYBOOK_ERROR_SIZE] = "";
    assert_ok(append_one(book, "s", "A", NULL));
    assert_int_equal(daybook_open(folder, NULL, &other, error), DAYBOOK_E_LOCKED);
    assert_true(strlen(error) > 10);
    assert_ok(daybook_open(folder, &read_only, &other, error));
    assert_int_equal(append_one(other, "s", "B", NULL), DAYBOOK_E_READ_ONLY);
    daybook_close(other);
    daybook_close(book);
    assert_int_equal(daybook_open("/tmp/daybook-embed-none", &read_only, &other, error), DAYBOOK_E_MISSING);
}

/* In a process of its own: looks once for each byte that comes, and says how many events there are. Ends with the pipe. */
static void look_when_told(int told, int seen)
{
    struct daybook_options read_only = {.read_only = true};
    struct daybook *book = NULL;
    char byte;
    while (read(told, &byte, 1) == 1) {
        uint64_t head = 0;
        if (book ? daybook_refresh(book) == 0 : daybook_open(folder, &read_only, &book, NULL) == 0)
            head = daybook_refresh(book) == 0 ? daybook_head(book) : 0;
        if (write(seen, &head, sizeof(head)) != sizeof(head))
            _exit(1);
    }
    daybook_close(book);
    _exit(0);
}

/* The law: what one process was told is durable, another sees when it looks, not when the writer has become idle. */
static void another_process_sees_what_was_acknowledged_when_it_looks(void **state)
{
    int told[2], seen[2], status;
    assert_ok(pipe(told));
    assert_ok(pipe(seen));
    pid_t other = fork(); /* before anything is opened here */
    assert_true(other >= 0);
    if (other == 0) {
        (void)close(told[1]);
        look_when_told(told[0], seen[1]);
    }
    (void)close(told[0]);
    (void)close(seen[1]);
    struct daybook *book = open_book();
    for (uint64_t i = 1; i <= 200; i++) {
        uint64_t head;
        assert_ok(append_one(book, "s", "A", NULL));
        assert_int_equal(write(told[1], "", 1), 1);
        assert_int_equal(read(seen[0], &head, sizeof(head)), sizeof(head));
        assert_int_equal(head, i);
    }
    (void)close(told[1]);
    (void)close(seen[0]);
    assert_int_equal(waitpid(other, &status, 0), other);
    assert_int_equal(status, 0);
    daybook_close(book);
}

/* The law: nothing that is appended can be taken for a frame of a server's own, whoever serves the folder later. */
static void a_type_that_looks_like_a_servers_frame_is_refused(void **state)
{
    struct daybook *book = open_book();
    assert_int_equal(append_one(book, "s", "daybook.reset", NULL), DAYBOOK_E_INVALID);
    assert_int_equal(append_one(book, "s", " daybook.x", NULL), DAYBOOK_E_INVALID);
    assert_ok(append_one(book, "s", "daybook", NULL));
    daybook_close(book);
}

/* The law: what is to be read after something that is not there is not waited for and skipped, but refused (P3). */
static void reading_after_a_position_that_does_not_exist_is_refused(void **state)
{
    struct daybook *book = open_book();
    struct daybook_reader *reader = NULL;
    struct daybook_read beyond = {.after = 2}, version = {.after = 2, .stream = DAYBOOK_BYTES("s")};
    struct daybook_event_new event = {.type = DAYBOOK_BYTES("B"), .data = DAYBOOK_BYTES("{}")};
    struct daybook_append append = {.events = &event, .event_count = 1, .has_condition = true, .after = 2};
    assert_ok(append_one(book, "s", "A", NULL));
    assert_int_equal(daybook_reader_new(book, &beyond, &reader), DAYBOOK_E_BEYOND);
    assert_int_equal(daybook_reader_new(book, &version, &reader), DAYBOOK_E_BEYOND);
    assert_int_equal(daybook_append(book, &append, NULL), DAYBOOK_E_CONFLICT);
    assert_ok(append_one(book, "s", "A", NULL));
    assert_ok(daybook_reader_new(book, &beyond, &reader));
    daybook_reader_free(reader);
    assert_ok(daybook_reader_new(book, &version, &reader));
    daybook_reader_free(reader);
    daybook_close(book);
}

/* As a server: making new keys would go on without what the old ones sealed, for ever. */
static void a_folder_whose_keys_are_missing_is_refused_and_gets_no_new_ones(void **state)
{
    char from[64], to[64], error[DAYBOOK_ERROR_SIZE] = "";
    struct daybook_event_new event = {
        .type = DAYBOOK_BYTES("A"), .data = DAYBOOK_BYTES("1"), .subject = DAYBOOK_BYTES("guest-17")};
    struct daybook_append append = {.events = &event, .event_count = 1};
    struct daybook *book = open_book();
    assert_ok(daybook_append(book, &append, NULL));
    daybook_close(book);
    snprintf(from, sizeof(from), "%s/keys", folder);
    snprintf(to, sizeof(to), "%s/away", folder);
    assert_ok(rename(from, to));
    assert_int_equal(daybook_open(folder, NULL, &book, error), DAYBOOK_E_DAMAGED);
    assert_non_null(strstr(error, "event 1 is about a subject, and the folder of keys"));
    assert_int_equal(access(from, F_OK), -1);
    assert_ok(rename(to, from));
    daybook_close(open_book());
}

static void every_answer_has_a_sentence(void **state)
{
    for (int answer = 0; answer <= DAYBOOK_E_END; answer++)
        assert_string_not_equal(daybook_error_text(answer), "no such answer");
    for (int answer = DAYBOOK_E_TIMEOUT; answer <= DAYBOOK_E_BEYOND; answer++)
        assert_string_not_equal(daybook_error_text(answer), "no such answer");
    assert_string_equal(daybook_error_text(20), "no such answer");
    assert_string_equal(daybook_error_text(-ENOENT), strerror(ENOENT));
    assert_true(strchr(daybook_version(), '.') != NULL);
}

#define STAGED(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGED(what_is_appended_is_read_also_after_reopening),
        STAGED(a_subscription_by_prefix_gets_what_is_there_and_what_comes),
        STAGED(a_guarded_append_is_told_everything_that_failed),
        STAGED(a_second_writer_is_refused_and_a_reader_is_not),
        STAGED(another_process_sees_what_was_acknowledged_when_it_looks),
        STAGED(a_type_that_looks_like_a_servers_frame_is_refused),
        STAGED(reading_after_a_position_that_does_not_exist_is_refused),
        STAGED(a_folder_whose_keys_are_missing_is_refused_and_gets_no_new_ones),
        STAGED(every_answer_has_a_sentence),
    };
    return cmocka_run_group_tests_name("journal/embed", tests, NULL, NULL);
}
