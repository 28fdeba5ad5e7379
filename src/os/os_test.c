#include "lib/cmocka_all.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "base/cleanup.h"
#include "lib/fake_clock.h"
#include "os/boot.h"
#include "os/clock.h"
#include "os/event.h"
#include "os/file.h"
#include "os/random.h"
#include "os/failure.h"
#include "os/thread.h"

/* ---- files ---- */

static char folder[64];

static int make_folder(void **state)
{
    (void)snprintf(folder, sizeof(folder), "/tmp/daybook-os-test-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    char command[128];

    (void)snprintf(command, sizeof(command), "rm -r %s", folder);
    return system(command);
}

static void a_file_is_written_read_cut_and_measured(void **state)
{
    const struct os_file_ops *ops = os_file_real();
    char path[OS_PATH_SIZE_MAX], text[16];
    uint64_t size;
    size_t got;
    int file;

    assert_ok(os_path(path, folder, "a"));
    assert_int_equal(ops->open(ops, path, OS_FILE_READ, &file), -ENOENT);
    assert_ok(ops->open(ops, path, OS_FILE_WRITE | OS_FILE_CREATE, &file));
    assert_ok(ops->allocate(ops, file, 100));
    assert_ok(ops->size(ops, file, &size));
    assert_int_equal(size, 100);
    assert_ok(os_file_write_full(ops, file, "hello", 5, 98));
    assert_ok(ops->sync(ops, file));
    assert_ok(os_file_read_full(ops, file, text, sizeof(text), 97, &got));
    assert_int_equal(got, 6);
    assert_memory_equal(text, "\0hello", 6);
    assert_ok(ops->truncate(ops, file, 99));
    assert_ok(os_file_read_full(ops, file, text, sizeof(text), 97, &got));
    assert_int_equal(got, 2);
    assert_ok(ops->close(ops, file));
    assert_ok(ops->remove(ops, path));
    assert_int_equal(ops->remove(ops, path), -ENOENT);
}

static void a_replaced_file_is_whole_and_leaves_nothing_beside_it(void **state)
{
    const struct os_file_ops *ops = os_file_real();
    _cleanup_(buffer_deinit) struct buffer content = {0}, names = {0};
    char path[OS_PATH_SIZE_MAX];

    assert_ok(os_file_replace(ops, folder, "b", BYTES_LITERAL("one")));
    assert_ok(os_file_replace(ops, folder, "b", BYTES_LITERAL("second")));
    assert_ok(os_path(path, folder, "b"));
    assert_ok(os_file_read_whole(ops, path, &content));
    assert_string_equal(buffer_string(&content), "second");
    assert_ok(ops->list(ops, folder, &names));
    assert_true(bytes_equal(buffer_bytes(&names), BYTES_LITERAL("b\0")));
    assert_int_equal(os_file_replace(ops, "/nonexistent", "b", BYTES_LITERAL("x")), -ENOENT);
}

static void a_file_larger_than_the_buffer_may_be_is_refused(void **state)
{
    const struct os_file_ops *ops = os_file_real();
    _cleanup_(buffer_deinit) struct buffer content = {.size_max = 65536};
    char path[OS_PATH_SIZE_MAX];
    int file;

    assert_ok(os_path(path, folder, "large"));
    assert_ok(ops->open(ops, path, OS_FILE_WRITE | OS_FILE_CREATE, &file));
    assert_ok(ops->truncate(ops, file, 65537));
    assert_ok(ops->close(ops, file));
    assert_int_equal(os_file_read_whole(ops, path, &content), -E2BIG);
    assert_int_equal(content.size, 0);
}

static void a_lock_excludes_others_until_its_file_is_closed(void **state)
{
    const struct os_file_ops *ops = os_file_real();
    char path[OS_PATH_SIZE_MAX];
    int first, second;

    assert_ok(os_path(path, folder, "lock"));
    assert_ok(ops->open(ops, path, OS_FILE_WRITE | OS_FILE_CREATE, &first));
    assert_ok(ops->open(ops, path, OS_FILE_WRITE, &second));
    assert_ok(ops->lock(ops, first));
    assert_int_equal(ops->lock(ops, second), OS_FILE_E_LOCKED);
    assert_ok(ops->close(ops, first));
    assert_ok(ops->lock(ops, second));
    assert_ok(ops->close(ops, second));
}

static void a_path_that_is_too_long_is_refused(void **state)
{
    char name[OS_PATH_SIZE_MAX], path[OS_PATH_SIZE_MAX];

    memset(name, 'x', sizeof(name));
    name[sizeof(name) - 1] = '\0';
    assert_int_equal(os_path(path, "folder", name), -ENAMETOOLONG);
}

/* ---- the rest ---- */

static void clocks_go_forward_and_a_fake_one_only_when_told(void **state)
{
    struct fake_clock fake;
    uint64_t before = os_monotonic_ns();

    assert_true(os_monotonic_ns() >= before);
    assert_true(os_clock_real()->realtime_us(os_clock_real()) > INT64_C(1700000000000000));
    fake_clock_init(&fake, 1000);
    fake_clock_advance(&fake, 5);
    assert_int_equal(fake.clock.realtime_us(&fake.clock), 6000);
    assert_int_equal(fake.clock.monotonic_ns(&fake.clock), OS_NS_PER_SECOND + 5 * OS_NS_PER_MS);
}

static void one_start_of_the_machine_has_one_id(void **state)
{
    static const uint8_t none[OS_BOOT_ID_SIZE];
    uint8_t first[OS_BOOT_ID_SIZE], second[OS_BOOT_ID_SIZE];

    assert_ok(os_boot_id(first));
    assert_ok(os_boot_id(second));
    assert_memory_equal(first, second, sizeof(first));
    assert_memory_not_equal(first, none, sizeof(first));
}

static void random_bytes_do_not_repeat(void **state)
{
    uint8_t seen[600][16], large[5000] = {0};
    size_t zeros = 0;

    for (size_t i = 0; i < 600; i++) { /* more than two pools */
        assert_ok(os_random(seen[i], sizeof(seen[i])));
        for (size_t k = 0; k < i; k++)
            assert_memory_not_equal(seen[i], seen[k], sizeof(seen[i]));
    }
    assert_ok(os_random(large, sizeof(large)));
    for (size_t i = 0; i < sizeof(large); i++)
        zeros += large[i] == 0;
    assert_true(zeros < 100);
}

struct relay {
    struct os_mutex mutex;
    struct os_cond cond;
    int turn;
    bool signals_blocked;
    char name[OS_THREAD_NAME_SIZE_MAX];
};

static void run_relay(void *user)
{
    struct relay *relay = (struct relay *)user;
    sigset_t mask;

    _os_locked_(&relay->mutex);
    (void)pthread_sigmask(SIG_SETMASK, NULL, &mask);
    relay->signals_blocked = sigismember(&mask, SIGTERM) == 1;
    (void)pthread_getname_np(pthread_self(), relay->name, sizeof(relay->name));
    while (relay->turn != 1)
        os_cond_wait(&relay->cond, &relay->mutex);
    relay->turn = 2;
    os_cond_signal(&relay->cond);
}

static void threads_have_names_take_no_signals_and_wake_each_other(void **state)
{
    struct relay relay = {0};
    struct os_thread thread = {0};

    os_mutex_init(&relay.mutex);
    os_cond_init(&relay.cond);
    assert_ok(os_thread_start(&thread, "a-name-that-is-too-long", run_relay, &relay));
    os_mutex_lock(&relay.mutex);
    relay.turn = 1;
    os_cond_signal(&relay.cond);
    while (relay.turn != 2)
        os_cond_wait(&relay.cond, &relay.mutex);
    os_mutex_unlock(&relay.mutex);
    os_thread_join(&thread);
    os_thread_join(&thread); /* a second time changes nothing */
    assert_true(relay.signals_blocked);
    assert_string_equal(relay.name, "a-name-that-is-");
    os_mutex_lock(&relay.mutex);
    assert_false(os_cond_wait_until(&relay.cond, &relay.mutex, os_monotonic_ns()));
    os_mutex_unlock(&relay.mutex);
    os_cond_deinit(&relay.cond);
    os_mutex_deinit(&relay.mutex);
}

struct pair {
    struct os_rwlock lock;
    struct os_thread threads[3];
    int left, right; /* equal whenever nobody writes */
    bool torn;
};

static void write_pair(void *user)
{
    struct pair *pair = (struct pair *)user;

    for (int i = 0; i < 1000; i++) {
        os_rwlock_write(&pair->lock);
        pair->left++;
        pair->right++;
        os_rwlock_unlock(&pair->lock);
    }
}

static void who_reads_under_a_lock_sees_no_half_done_write(void **state)
{
    struct pair pair = {0};

    os_rwlock_init(&pair.lock);
    for (int i = 0; i < 3; i++)
        assert_ok(os_thread_start(&pair.threads[i], "writer", write_pair, &pair));
    for (int i = 0; i < 1000; i++) {
        os_rwlock_read(&pair.lock);
        pair.torn |= pair.left != pair.right;
        os_rwlock_unlock(&pair.lock);
    }
    for (int i = 0; i < 3; i++)
        os_thread_join(&pair.threads[i]);
    assert_false(pair.torn);
    assert_int_equal(pair.left, 3000);
    os_rwlock_deinit(&pair.lock);
}

static void stand_back(void *nice)
{
    os_thread_stand_back();
    *(int *)nice = getpriority(PRIO_PROCESS, 0);
}

static void a_thread_that_stands_back_does_so_alone(void **state)
{
    struct os_thread thread = {0};
    int nice = 0, mine = getpriority(PRIO_PROCESS, 0);

    assert_ok(os_thread_start(&thread, "modest", stand_back, &nice));
    os_thread_join(&thread);
    assert_int_equal(nice, 19);
    assert_int_equal(getpriority(PRIO_PROCESS, 0), mine);
}

static bool is_readable(int descriptor)
{
    struct pollfd poll_one = {.fd = descriptor, .events = POLLIN};

    return poll(&poll_one, 1, 0) == 1;
}

static void an_event_is_readable_while_it_is_raised(void **state)
{
    int event = -1;

    assert_ok(os_event_open(&event));
    assert_false(is_readable(event));
    os_event_raise(event);
    os_event_raise(event);
    assert_true(is_readable(event));
    os_event_clear(event);
    assert_false(is_readable(event));
    os_event_clear(event);
    os_event_close(event);
    os_event_close(-1);
}

/* "Resource temporarily unavailable" helps nobody. */
static void a_limit_that_is_too_small_is_named_with_its_cure(void **state)
{
    assert_non_null(strstr(os_failure_text(-EAGAIN), "ulimit -v"));
    assert_non_null(strstr(os_failure_text(-ENOMEM), "ulimit -v"));
    assert_non_null(strstr(os_failure_text(-EMFILE), "ulimit -n"));
    assert_string_equal(os_failure_text(-ENOENT), "No such file or directory");
}

int main(void)
{
#define FILE_TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        FILE_TEST(a_file_is_written_read_cut_and_measured),
        FILE_TEST(a_replaced_file_is_whole_and_leaves_nothing_beside_it),
        FILE_TEST(a_file_larger_than_the_buffer_may_be_is_refused),
        FILE_TEST(a_lock_excludes_others_until_its_file_is_closed),
        cmocka_unit_test(a_path_that_is_too_long_is_refused),
        cmocka_unit_test(clocks_go_forward_and_a_fake_one_only_when_told),
        cmocka_unit_test(one_start_of_the_machine_has_one_id),
        cmocka_unit_test(random_bytes_do_not_repeat),
        cmocka_unit_test(threads_have_names_take_no_signals_and_wake_each_other),
        cmocka_unit_test(who_reads_under_a_lock_sees_no_half_done_write),
        cmocka_unit_test(a_thread_that_stands_back_does_so_alone),
        cmocka_unit_test(an_event_is_readable_while_it_is_raised),
        cmocka_unit_test(a_limit_that_is_too_small_is_named_with_its_cure),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
