/* P8: what of a view is damaged on the disk is found before it is answered, said, and built anew by itself. */
#include "lib/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "lib/view_kit.h"

static int set_up(void **state)
{
    struct view_kit *kit = calloc(1, sizeof(*kit));
    assert_non_null(kit);
    view_kit_init(kit);
    view_kit_write_application(kit);
    *state = kit;
    return 0;
}

static int tear_down(void **state)
{
    view_kit_deinit(*state);
    free(*state);
    return 0;
}

static void open_with(struct view_kit *kit, unsigned events)
{
    view_kit_append(kit, events, 7);
    assert_ok(view_kit_open(kit));
    view_kit_catch_up(kit);
}

static void flip_page(const struct view_kit *kit, const char *store, long page)
{
    char path[256];
    (void)snprintf(path, sizeof(path), "%s/views/%s", kit->data, store);
    FILE *file = fopen(path, "r+");
    assert_non_null(file);
    assert_ok(fseek(file, page * 4096 + 2500, SEEK_SET));
    int byte = fgetc(file);
    assert_ok(fseek(file, page * 4096 + 2500, SEEK_SET));
    assert_true(fputc(byte ^ 8, file) != EOF);
    assert_ok(fclose(file));
}

/* P8: who meets it is told to come again, and who does not hears nothing of it. */
static void a_damaged_page_that_a_question_meets_makes_the_view_be_built_anew_beside(void **state)
{
    struct view_kit *kit = *state;
    struct view_answer answer;
    open_with(kit, 5000);
    _cleanup_(freep) char *before = view_kit_get(kit, "views/log?limit=10000", NULL);
    view_kit_close(kit);
    flip_page(kit, "log@1.db", 20);
    assert_ok(view_kit_open(kit));
    assert_null(view_kit_get(kit, "views/log?limit=10000", &answer));
    assert_int_equal(answer.answer, VIEW_E_REBUILDING);
    assert_non_null(strstr(answer.detail, "views/log@1.db is damaged at byte 81920"));
    view_answer_deinit(&answer);
    view_kit_wait_generation(kit, "log", 2);
    view_kit_expect(kit, "views/log?limit=10000", before);
    assert_int_equal(kit->notices.of[VIEW_NOTICE_DISCARDED], 1);
    assert_int_equal(view_kit_status(kit, "log").error[0], '\0');
}

static void a_damaged_page_that_the_projector_meets_does_too(void **state)
{
    struct view_kit *kit = *state;
    open_with(kit, 5000);
    view_kit_close(kit);
    for (long page = 2; page < 40; page++)
        flip_page(kit, "log@1.db", page);
    assert_ok(view_kit_open(kit));
    view_kit_append(kit, 500, 9);
    view_kit_wait_generation(kit, "log", 2);
    view_kit_catch_up(kit);
    free(view_kit_get(kit, "views/log?limit=10000", NULL));
    assert_int_equal(view_kit_status(kit, "log").state, VIEW_LIVE);
}

static void a_pointer_that_says_nothing_is_said(void **state)
{
    struct view_kit *kit = *state;
    char path[256];
    open_with(kit, 100);
    _cleanup_(freep) char *before = view_kit_get(kit, "views/counts", NULL);
    view_kit_close(kit);
    (void)snprintf(path, sizeof(path), "%s/views/counts.current", kit->data);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs("q\n", file) >= 0);
    assert_ok(fclose(file));
    assert_ok(view_kit_open(kit));
    view_kit_catch_up(kit);
    view_kit_expect(kit, "views/counts", before);
    assert_non_null(strstr(kit->last_notice, "views/counts.current does not say"));
}

/* A view reads a journal that is damaged before its end, and so does a question about the past. */
static void what_a_damaged_journal_cannot_tell_is_not_answered_from_a_view(void **state)
{
    struct view_kit *kit = *state;
    open_with(kit, 100);
    _cleanup_(freep) char *past = view_kit_get(kit, "views/counts?as_of=40", NULL);
    view_kit_close(kit);
    journal_close(kit->journal);
    memory_store_damage(kit->store, 61);
    kit->journal = kit_open(kit->store, true);
    assert_true(journal_is_incomplete(kit->journal));
    assert_ok(view_kit_open(kit));
    view_kit_refused(kit, "views/counts", -EBADMSG, "damaged before its end");
    view_kit_refused(kit, "queries/total", -EBADMSG, "damaged before its end");
    view_kit_refused(kit, "views/counts?min_position=10", -EBADMSG, "damaged before its end");
    view_kit_refused(kit, "views/counts?as_of=61", -EBADMSG, "damaged before that position");
    view_kit_refused(kit, "views/counts?as_of=2999-01-01T00:00:00Z", -EBADMSG, "damaged before that time");
    view_kit_expect(kit, "views/counts?as_of=40", past);
    assert_int_equal(view_kit_status(kit, "counts").state, VIEW_STALLED);
}

#define DAMAGE_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        DAMAGE_TEST(a_damaged_page_that_a_question_meets_makes_the_view_be_built_anew_beside),
        DAMAGE_TEST(a_damaged_page_that_the_projector_meets_does_too),
        DAMAGE_TEST(a_pointer_that_says_nothing_is_said),
        DAMAGE_TEST(what_a_damaged_journal_cannot_tell_is_not_answered_from_a_view),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
