#include "lib/view_kit.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "lib/cmocka_all.h"
#include "os/clock.h"

#define WAIT_NS (20 * OS_NS_PER_SECOND)

/* --- folders -------------------------------------------------------------------------------------------------------------------------- */

static void remove_tree(const char *path)
{
    DIR *folder = opendir(path);
    struct dirent *entry;
    while (folder && (entry = readdir(folder))) {
        char below[4096];
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        (void)snprintf(below, sizeof(below), "%s/%s", path, entry->d_name);
        if (unlink(below) != 0)
            remove_tree(below);
    }
    if (folder)
        (void)closedir(folder);
    (void)rmdir(path);
}

static void make_folder(const char *base, const char *name)
{
    char path[256];
    (void)snprintf(path, sizeof(path), "%s/%s", base, name);
    assert_ok(mkdir(path, 0700));
}

void view_kit_init(struct view_kit *kit)
{
    *kit = (struct view_kit){.set = NULL};
    (void)snprintf(kit->folder, sizeof(kit->folder), "/tmp/daybook-view-XXXXXX");
    assert_non_null(mkdtemp(kit->folder));
    (void)snprintf(kit->app, sizeof(kit->app), "%s/app", kit->folder);
    (void)snprintf(kit->data, sizeof(kit->data), "%s/data", kit->folder);
    make_folder(kit->folder, "app");
    make_folder(kit->folder, "data");
    make_folder(kit->app, "views");
    make_folder(kit->app, "queries");
    kit->store = memory_store_new();
    assert_non_null(kit->store);
    kit->journal = kit_open(kit->store, true);
}

void view_kit_deinit(struct view_kit *kit)
{
    view_kit_close(kit);
    journal_close(kit->journal);
    memory_store_free(kit->store);
    remove_tree(kit->folder);
}

void view_kit_write(struct view_kit *kit, const char *name, const char *text)
{
    char path[256];
    (void)snprintf(path, sizeof(path), "%s/%s", kit->app, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_ok(fclose(file));
}

void view_kit_write_application(struct view_kit *kit)
{
    view_kit_write(
        kit, "views/counts.sql",
        "-- view: counts\n-- version: 1\n"
        "create table counts (room text primary key, n integer not null, last integer) without rowid;\n"
        "-- on Added\n"
        "insert into counts values (:data ->> 'room', :data ->> 'n', :position)\n"
        "  on conflict do update set n = n + excluded.n, last = excluded.last;\n"
        "-- on Removed\n"
        "update counts set n = n - (:data ->> 'n'), last = :position where room = :data ->> 'room';\n");
    view_kit_write(kit, "views/log.sql",
                   "-- view: log\n-- version: 1\n"
                   "create table log (position integer primary key, type text, data json);\n"
                   "-- on *\n"
                   "insert into log values (:position, :type, :data);\n");
    view_kit_write(
        kit, "queries/total.sql",
        "-- query: total\n-- uses: counts, log\n-- param: least integer = 0\n"
        "select (select sum(n) from counts where n >= :least) as n, (select count(*) from log) as events\n");
}

/* --- the set ---------------------------------------------------------------------------------------------------------------------------- */

static void note(void *user, enum view_notice_kind kind, const char *view, const char *sentence)
{
    struct view_kit *kit = user;
    __atomic_add_fetch(&kit->notices.of[kind], 1, __ATOMIC_SEQ_CST);
    (void)snprintf(kit->last_notice, sizeof(kit->last_notice), "%s: %.400s", view, sentence);
}

int view_kit_open(struct view_kit *kit)
{
    view_kit_close(kit);
    kit->options.app_folder = kit->app;
    kit->options.data_folder = kit->data;
    kit->options.journal = kit->journal;
    kit->options.on_notice = note;
    kit->options.user = kit;
    return view_set_open(&kit->options, &kit->set, kit->error);
}

void view_kit_close(struct view_kit *kit)
{
    view_set_close(kit->set);
    kit->set = NULL;
}

/* --- events ----------------------------------------------------------------------------------------------------------------------------- */

void view_kit_append_one(struct view_kit *kit, const char *type, const char *data)
{
    assert_ok(kit_append(kit->journal, "s", type, "", data, NULL));
}

void view_kit_append(struct view_kit *kit, unsigned count, uint64_t seed)
{
    enum { SHARE = 100 };
    static char data[SHARE][64];
    struct journal_event_new events[SHARE];
    while (count > 0) {
        unsigned share = count < SHARE ? count : SHARE;
        for (unsigned i = 0; i < share; i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            (void)snprintf(data[i], sizeof(data[i]), "{\"room\":\"r%u\",\"n\":%u}",
                           (unsigned)(seed >> 33) % 10, (unsigned)(seed >> 40) % 5);
            events[i] = (struct journal_event_new){
                .type = (seed >> 50) % 4 == 0 ? BYTES_LITERAL("Removed") : BYTES_LITERAL("Added"),
                .stream = BYTES_LITERAL("s"),
                .data = bytes_from_string(data[i]),
            };
        }
        struct journal_append append = {.events = events, .event_count = share};
        assert_ok(journal_append_wait(kit->journal, &append, NULL));
        count -= share;
    }
}

/* --- waiting ---------------------------------------------------------------------------------------------------------------------------- */

void view_kit_catch_up(struct view_kit *kit)
{
    assert_ok(view_set_wait(kit->set, journal_head(kit->journal), 20000));
}

struct view_status view_kit_status(struct view_kit *kit, const char *view)
{
    struct view_status status = {.version = 0};
    for (size_t i = 0; i < view_set_count(kit->set); i++) {
        view_set_status(kit->set, i, &status);
        if (strcmp(status.name, view) == 0)
            return status;
    }
    fail_msg("no view %s", view);
    return status;
}

static void pause_a_moment(void)
{
    const struct timespec moment = {.tv_nsec = 1000000};
    (void)nanosleep(&moment, NULL);
}

void view_kit_wait_state(struct view_kit *kit, const char *view, enum view_state state)
{
    uint64_t deadline_ns = os_monotonic_ns() + WAIT_NS;
    while (view_kit_status(kit, view).state != state) {
        if (os_monotonic_ns() > deadline_ns)
            fail_msg("%s is %s, not %s", view, view_state_name(view_kit_status(kit, view).state),
                     view_state_name(state));
        pause_a_moment();
    }
}

void view_kit_wait_generation(struct view_kit *kit, const char *view, uint64_t generation)
{
    uint64_t deadline_ns = os_monotonic_ns() + WAIT_NS;
    while (view_kit_status(kit, view).generation != generation) {
        if (os_monotonic_ns() > deadline_ns)
            fail_msg("%s is generation %llu", view,
                     (unsigned long long)view_kit_status(kit, view).generation);
        pause_a_moment();
    }
}

/* --- asking ------------------------------------------------------------------------------------------------------------------------------ */

static char *body_of(const struct view_answer *answer)
{
    char *body = malloc(answer->body_size + 1);
    assert_non_null(body);
    if (answer->body_fd >= 0)
        assert_int_equal(pread(answer->body_fd, body, answer->body_size, 0), (ssize_t)answer->body_size);
    else if (answer->body_size > 0)
        memcpy(body, answer->body.data, answer->body_size);
    body[answer->body_size] = '\0';
    return body;
}

char *view_kit_ask(struct view_kit *kit, const char *url, struct view_request *request,
                   struct view_answer *ret_answer)
{
    _cleanup_(freep) char *copy = strdup(url);
    struct view_parameter parameters[64];
    struct view_answer answer;
    assert_non_null(copy);
    char *slash = strchr(copy, '/'), *rest = strchrnul(copy, '?');
    request->kind = copy[0] == 'q' ? VIEW_KIND_QUERY : VIEW_KIND_VIEW;
    request->name = bytes_make(slash + 1, (size_t)(rest - slash - 1));
    request->parameters = parameters;
    request->parameter_count = 0;
    for (char *part = *rest ? rest + 1 : rest; *part != '\0';) {
        char *end = strchrnul(part, '&'), *equals = memchr(part, '=', (size_t)(end - part));
        assert_non_null(equals);
        parameters[request->parameter_count++] =
            (struct view_parameter){.name = bytes_make(part, (size_t)(equals - part)),
                                    .value = bytes_make(equals + 1, (size_t)(end - equals - 1))};
        part = *end ? end + 1 : end;
    }
    int r = view_ask(kit->set, request, &answer);
    char *body = r == 0 ? body_of(&answer) : NULL;
    view_answer_deinit(&answer);
    if (ret_answer)
        *ret_answer = answer;
    return body;
}

char *view_kit_get(struct view_kit *kit, const char *url, struct view_answer *ret_answer)
{
    struct view_request request = {.wait_ms = 20000};
    return view_kit_ask(kit, url, &request, ret_answer);
}

void view_kit_expect(struct view_kit *kit, const char *url, const char *expected)
{
    struct view_answer answer;
    _cleanup_(freep) char *body = view_kit_get(kit, url, &answer);
    if (!body)
        fail_msg("%s was refused: %d %s", url, answer.answer, answer.detail);
    if (strcmp(body, expected) != 0)
        fail_msg("%s is '%s', expected '%s'", url, body, expected);
}

void view_kit_refused(struct view_kit *kit, const char *url, int expected, const char *detail)
{
    struct view_answer answer;
    _cleanup_(freep) char *body = view_kit_get(kit, url, &answer);
    if (answer.answer != expected || !strstr(answer.detail, detail))
        fail_msg("%s -> %d '%s', expected %d '%s'", url, answer.answer, answer.detail, expected, detail);
}
