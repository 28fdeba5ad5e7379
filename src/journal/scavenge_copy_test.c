/* What was scavenged is in no journal that is made from a backup, however the backup grew (S4). */
#include "lib/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "journal/retention.h"
#include "journal/scavenge.h"
#include "journal/tools.h"
#include "lib/journal_kit.h"
#include "os/file.h"

#define SECRET "a clear text that is to be forgotten"

/* So large that a second backup leaves the segments of the first one alone. */
enum { EVENTS = 8, DATA_SIZE = 300000 };

struct place {
    char *folder;
    char data[OS_PATH_SIZE_MAX], log[OS_PATH_SIZE_MAX], backup[OS_PATH_SIZE_MAX], restored[OS_PATH_SIZE_MAX];
};

static int set_up(void **state)
{
    struct place *place = calloc(1, sizeof(*place));
    place->folder = kit_folder_new();
    assert_ok(os_path(place->data, place->folder, "data"));
    assert_ok(os_path(place->log, place->data, "log"));
    assert_ok(os_path(place->backup, place->folder, "backup"));
    assert_ok(os_path(place->restored, place->folder, "restored"));
    assert_ok(os_file_real()->make_folder(os_file_real(), place->data));
    *state = place;
    return 0;
}

static int tear_down(void **state)
{
    struct place *place = *state;
    kit_folder_remove(place->folder);
    free(place);
    return 0;
}

static void append_secrets(struct journal *journal)
{
    static char data[DATA_SIZE + 1];
    memset(data, 'x', DATA_SIZE);
    data[0] = data[DATA_SIZE - 1] = '"';
    memcpy(data + 1000, SECRET, strlen(SECRET));
    for (int i = 0; i < EVENTS; i++)
        assert_ok(kit_append(journal, "s", "A", "t", data, NULL));
}

static void scavenge(struct journal *journal)
{
    const struct retention_rule rule = {.name = B("s"), .truncate_before = 1000};
    struct scavenge_report report;
    struct journal_event_new event;
    _cleanup_(buffer_deinit) struct buffer data = {0};
    char error[256];
    assert_ok(retention_event(&rule, false, &data, &event));
    assert_ok(journal_append_wait(journal, &(struct journal_append){.events = &event, .event_count = 1}, NULL));
    assert_ok(journal_scavenge(journal, &(struct scavenge_options){0}, &report, error));
    assert_int_equal(report.gone, EVENTS);
}

static void back_up(const struct place *place)
{
    struct file_log_copied copied;
    char error[256] = "";
    assert_ok(journal_backup(place->data, place->backup, NULL, NULL, &copied, error));
}

/* How often the secret stands in the files of a data folder's log. */
static size_t count_secrets(const char *data_folder)
{
    const struct os_file_ops *ops = os_file_real();
    _cleanup_(buffer_deinit) struct buffer names = {0};
    char folder[OS_PATH_SIZE_MAX], path[OS_PATH_SIZE_MAX];
    size_t count = 0;
    assert_ok(os_path(folder, data_folder, "log"));
    assert_ok(ops->list(ops, folder, &names));
    for (size_t offset = 0; offset < names.size; offset += strlen((char *)names.data + offset) + 1) {
        _cleanup_(buffer_deinit) struct buffer content = {.size_max = SIZE_MAX};
        assert_ok(os_path(path, folder, (char *)names.data + offset));
        assert_ok(os_file_read_whole(ops, path, &content));
        const uint8_t *at = content.data, *end = content.data + content.size;
        while (at && at < end && (at = memmem(at, (size_t)(end - at), SECRET, strlen(SECRET)))) {
            count++;
            at++;
        }
    }
    return count;
}

static void verify(const char *data_folder)
{
    struct journal_verify_report report;
    char error[256] = "";
    assert_ok(journal_verify(data_folder, NULL, NULL, NULL, &report, error));
    assert_int_equal(report.log.damage_count, 0);
}

/* A backup in three runs: the first has all bodies; what was scavenged since came with the others, whose own events went too,
 * so that the newest ones look done. */
static void make_grown_backup(const struct place *place)
{
    struct journal *journal = kit_open_file(place->log);
    append_secrets(journal);
    back_up(place);
    scavenge(journal);
    append_secrets(journal);
    scavenge(journal);
    journal_close(journal);
    back_up(place);
    assert_int_equal(count_secrets(place->data), 0);
    assert_int_equal(count_secrets(place->backup), EVENTS); /* it is a copy of what was */
}

static void a_restore_takes_away_what_was_scavenged_after_the_first_backup(void **state)
{
    const struct place *place = *state;
    struct journal_restore_report report;
    struct journal_until before = {.position = EVENTS};
    char error[256] = "", early[OS_PATH_SIZE_MAX];
    make_grown_backup(place);
    assert_ok(journal_restore(place->backup, place->restored, NULL, NULL, NULL, &report, error));
    assert_int_equal(count_secrets(place->restored), 0);
    verify(place->restored);
    assert_ok(os_path(early, place->folder, "early"));
    assert_ok(journal_restore(place->backup, early, &before, NULL, NULL, &report, error));
    assert_int_equal(count_secrets(early), EVENTS); /* a past that does not say so yet */
}

static void a_backup_that_is_served_takes_away_what_it_says_is_gone(void **state)
{
    const struct place *place = *state;
    char log[OS_PATH_SIZE_MAX];
    make_grown_backup(place);
    assert_ok(os_path(log, place->backup, "log"));
    journal_close(kit_open_file(log));
    assert_int_equal(count_secrets(place->backup), 0);
    verify(place->backup);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_restore_takes_away_what_was_scavenged_after_the_first_backup, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_backup_that_is_served_takes_away_what_it_says_is_gone, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests_name("journal/scavenge_copy", tests, NULL, NULL);
}
