/* The parts of the server that need neither disk nor network; test/system has the rest. */

#include "lib/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/internal.h"
#include "server/memory.h"
#include "server/tokens.h"

static const struct server server = {.journal_id = "0123456789abcdef0123456789abcdef"};

static int parse(const char *text, uint64_t *ret_position)
{
    return cursor_parse(&server, bytes_from_string(text), ret_position);
}

static void a_cursor_is_read_back_as_it_was_written(void **state)
{
    const uint64_t positions[] = {0, 1, 4347, UINT64_MAX};
    char text[CURSOR_TEXT_SIZE];
    uint64_t position;

    for (size_t i = 0; i < 4; i++) {
        cursor_format(&server, positions[i], text);
        assert_int_equal(parse(text, &position), 0);
        assert_true(position == positions[i]);
    }
}

static void cursors_of_others_and_nonsense_are_told_apart(void **state)
{
    uint64_t position = 99;

    assert_int_equal(parse("7", &position), 0);
    assert_true(position == 7);
    assert_int_equal(parse("ffffffffffffffffffffffffffffffff-7", &position), CURSOR_E_OTHER);
    for (const char *const *bad =
             (const char *const[]){"", "-", "x", "7x", "0123456789abcdef0123456789abcdef",
                                   "0123456789abcdef0123456789abcdef-", "0123456789abcdef0123456789abcdef-x",
                                   "0123456789abcdef0123456789abcdef-18446744073709551616", NULL};
         *bad; bad++)
        assert_int_equal(parse(*bad, &position), CURSOR_E_INVALID);
    assert_true(position == 7);
}

/* The law: an item matches when the type is one of its types (none: any) and all its tags are on the event. */
static void a_filter_matches_by_the_rule_of_queries(void **state)
{
    const struct bytes tags[] = {BYTES_LITERAL("a"), BYTES_LITERAL("b")};
    const struct bytes other_tags[] = {BYTES_LITERAL("a"), BYTES_LITERAL("c")};
    const struct bytes types[] = {BYTES_LITERAL("X"), BYTES_LITERAL("Y")};
    const struct filter_subject subject = {
        .stream = BYTES_LITERAL("s"), .version = 5, .type = BYTES_LITERAL("Y"), .tags = tags, .tag_count = 2};
    const struct {
        struct journal_item items[2];
        size_t count;
        bool matches;
    } cases[] = {
        {{{0}}, 0, true},
        {{{.types = types, .type_count = 2}}, 1, true},
        {{{.types = types, .type_count = 1}}, 1, false},
        {{{.tags = tags, .tag_count = 2}}, 1, true},
        {{{.tags = other_tags, .tag_count = 2}}, 1, false},
        {{{.types = types, .type_count = 1}, {.tags = tags, .tag_count = 1}}, 2, true},
        {{{.types = types, .type_count = 1, .tags = tags, .tag_count = 2}}, 1, false},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct filter filter = {.query = {.items = cases[i].items, .count = cases[i].count}};
        assert_int_equal(filter_matches(&filter, &subject), cases[i].matches);
    }
    assert_true(filter_matches(&(struct filter){.stream = BYTES_LITERAL("s"), .version_min = 5}, &subject));
    assert_false(filter_matches(&(struct filter){.stream = BYTES_LITERAL("s"), .version_min = 6}, &subject));
    assert_false(filter_matches(&(struct filter){.stream = BYTES_LITERAL("t")}, &subject));
    assert_true(filter_matches(&(struct filter){.prefix = BYTES_LITERAL("s")}, &subject));
    assert_false(filter_matches(&(struct filter){.prefix = BYTES_LITERAL("s-")}, &subject));
}

/* The law: daybook's own events are seen by who says system=1, or names one of its types or tags. */
static void a_filter_keeps_daybooks_own_events_from_others(void **state)
{
    const struct bytes own = BYTES_LITERAL("$T"), other = BYTES_LITERAL("T");
    const struct filter_subject subject = {.stream = BYTES_LITERAL("$s"), .type = own};
    const struct journal_item by_name = {.types = &own, .type_count = 1};

    assert_false(filter_matches(&(struct filter){0}, &subject));
    assert_false(filter_matches(&(struct filter){.prefix = BYTES_LITERAL("$")}, &subject));
    assert_true(filter_matches(&(struct filter){.system = true}, &subject));
    assert_true(filter_matches(&(struct filter){.query = {.items = &by_name, .count = 1}}, &subject));
    const struct filter_subject in_own_stream = {.stream = BYTES_LITERAL("$s"), .type = other};
    assert_false(filter_matches(&(struct filter){0}, &in_own_stream));
    assert_true(filter_matches(&(struct filter){.system = true}, &in_own_stream));
}

static struct tokens *tokens_of(const char *text, int want)
{
    char error[SERVER_ERROR_SIZE] = "";
    struct tokens *tokens = NULL;

    assert_int_equal(tokens_parse(bytes_from_string(text), "the-file", &tokens, error), want);
    assert_true(want == 0 || strstr(error, "the-file"));
    return tokens;
}

/* sha256 of "one", "two", "three", "four" */
#define HASH_ONE   "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"
#define HASH_TWO   "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3"
#define HASH_THREE "8b5b9db0c13db24256c829aa364aa90c6d2eba318b9232a4ab9313b954d3555f"

static enum role role_of(const struct tokens *tokens, const char *token)
{
    return tokens_role(tokens, bytes_from_string(token));
}

static void a_token_is_known_by_its_hash_and_good_for_its_roles(void **state)
{
    struct tokens *tokens = tokens_of("# comment\n\n" HASH_ONE "  -\n"
                                      "sha256:" HASH_TWO " reader a note\n"
                                      "\tsha256:" HASH_THREE "\treader,writer\r\n",
                                      0);

    assert_int_equal(tokens_count(tokens), 3);
    assert_int_equal(role_of(tokens, "one"), ROLE_OPERATOR);
    assert_int_equal(role_of(tokens, "two"), ROLE_READER);
    assert_int_equal(role_of(tokens, "three"), ROLE_WRITER);
    assert_int_equal(role_of(tokens, "four"), ROLE_NONE);
    assert_int_equal(role_of(tokens, ""), ROLE_NONE);
    assert_int_equal(role_of(tokens, HASH_ONE), ROLE_NONE);
    tokens_free(tokens);
    tokens = tokens_of(HASH_ONE " writer\n" HASH_ONE " reader\n", 0);
    assert_int_equal(role_of(tokens, "one"), ROLE_WRITER);
    tokens_free(tokens);
}

/* A token with a name and no role may do everything: a mistyped role must not become a name. */
static void a_word_meant_as_a_role_is_never_a_name(void **state)
{
    for (const char *const *bad =
             (const char *const[]){"Reader", "readers", "write", "operators", "reader,", ",reader",
                                   "reader,all", "writer,,reader", "anna,reader", NULL};
         *bad; bad++) {
        char line[160];
        snprintf(line, sizeof(line), "# first\n%s %s\n", HASH_ONE, *bad);
        tokens_of(line, SERVER_E_START);
    }
    for (const char *const *good = (const char *const[]){"", "-", "anna", "anna reader", "rea", NULL}; *good;
         good++) {
        char line[160];
        snprintf(line, sizeof(line), "%s %s\n", HASH_ONE, *good);
        struct tokens *tokens = tokens_of(line, 0);
        assert_int_equal(role_of(tokens, "one"), ROLE_OPERATOR);
        tokens_free(tokens);
    }
}

static void a_token_file_without_tokens_lets_nobody_in(void **state)
{
    for (const char *const *text = (const char *const[]){"", "# only words\n", NULL}; *text; text++) {
        struct tokens *tokens = tokens_of(*text, 0);
        assert_int_equal(tokens_count(tokens), 0);
        assert_int_equal(role_of(tokens, "one"), ROLE_NONE);
        assert_int_equal(role_of(tokens, ""), ROLE_NONE);
        tokens_free(tokens);
    }
}

static void a_broken_token_file_is_refused_by_name(void **state)
{
    tokens_of("sha256:1234\n", SERVER_E_START);
    tokens_of("plain-token\n", SERVER_E_START);
}

/* What a program relies on: each answer of the journal has one status and one code, and no lost race is a 5xx. */
static void every_answer_of_the_journal_has_a_status(void **state)
{
    for (int answer = JOURNAL_E_INVALID; answer <= JOURNAL_E_FAILED; answer++) {
        struct http_problem problem = journal_problem(answer, "");
        assert_true(problem.status >= 400 && problem.status != 500);
        assert_non_null(problem.detail);
        assert_true((problem.status != 503 && problem.status != 507 && problem.status != 429) ||
                    problem.retry_after_s > 0);
    }
    assert_int_equal(journal_problem(JOURNAL_E_CONFLICT, "").status, 409);
    assert_int_equal(journal_problem(JOURNAL_E_FULL, "").status, 507);
    assert_int_equal(journal_problem(JOURNAL_E_BUSY, "").status, 429);
}

/* The law (P8): 503 while daybook is unwell for a moment; 500 is for what does not pass by itself. */
static void a_failure_that_passes_is_503_and_says_when_to_come_back(void **state)
{
    struct http_problem problem = journal_problem(-EAGAIN, "Resource temporarily unavailable");

    assert_int_equal(problem.status, 503);
    assert_int_equal(problem.retry_after_s, 1);
    assert_string_equal(problem.code, "index-rebuilding");
    assert_null(strstr(problem.detail, "Resource"));
    assert_int_equal(journal_problem(-EBADMSG, NULL).status, 500);
    assert_string_equal(journal_problem(-EBADMSG, NULL).code, "damaged");
    assert_int_equal(journal_problem(-EIO, NULL).status, 500);
}

static void every_route_says_what_it_is(void **state)
{
    size_t count;
    const struct http_route *routes = server_routes(&count);

    for (size_t i = 0; i < count; i++) {
        const struct route_about *about = routes[i].data;
        assert_non_null(about->operation);
        assert_non_null(about->summary);
        assert_true(about->statuses[0] >= 200 && about->statuses[0] < 300);
        /* A4: whoever forgets the role of a route learns of it here. */
        assert_true(about->role != ROLE_NONE || routes[i].flags & HTTP_PUBLIC);
        assert_true(strcmp(routes[i].method, "POST") != 0 ||
                    routes[i].flags & HTTP_JSON); /* no form of a web page writes */
    }
}

/* ---- memory ---- */

static void write_text(const char *folder, const char *name, const char *text)
{
    char path[512];

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void make_folder(const char *folder, const char *name)
{
    char path[512];

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    assert_int_equal(mkdir(path, 0700), 0);
}

/* The law: the least of the machine's memory and the limits of the process's group and all above it, in either version. */
static void what_there_is_of_memory_is_what_the_control_groups_allow(void **state)
{
    char folder[] = "/tmp/daybook-memory-XXXXXX", groups[512], command[600];
    const uint64_t machine = UINT64_C(8) << 30;

    assert_non_null(mkdtemp(folder));
    snprintf(groups, sizeof(groups), "%s/groups", folder);
    assert_true(memory_within(machine, groups, folder) == machine); /* no such file */
    for (const char *const *name = (const char *const[]){"a", "a/b", "memory", "memory/c", NULL}; *name; name++)
        make_folder(folder, *name);
    write_text(folder, "groups", "0::/a/b\n");
    assert_true(memory_within(machine, groups, folder) == machine);
    write_text(folder, "a/b/memory.max", "max\n");
    assert_true(memory_within(machine, groups, folder) == machine);
    write_text(folder, "a/memory.max", "268435456\n");
    assert_true(memory_within(machine, groups, folder) == 268435456); /* of the group above */
    write_text(folder, "a/b/memory.max", "134217728\n");
    assert_true(memory_within(machine, groups, folder) == 134217728);
    assert_true(memory_within(1000, groups, folder) == 1000);
    write_text(folder, "groups", "9:name=systemd:/a\n4:memory:/c\n0::/\n");
    write_text(folder, "memory/memory.limit_in_bytes", "9223372036854771712\n"); /* none, in version 1 */
    assert_true(memory_within(machine, groups, folder) == machine);
    write_text(folder, "memory/c/memory.limit_in_bytes", "67108864\n");
    assert_true(memory_within(machine, groups, folder) == 67108864);
    write_text(folder, "groups", "nonsense\n:\n4:memory\n0:");
    assert_true(memory_within(machine, groups, folder) == machine);
    snprintf(command, sizeof(command), "rm -r %s", folder);
    assert_int_equal(system(command), 0);
}

static void limits_follow_from_the_memory_and_stay_as_they_were_set(void **state)
{
    struct server_options options;

    server_options_init(&options);
    options.memory = UINT64_C(64) << 30;
    memory_fit(&options);
    assert_int_equal(options.http_limits.answers_size_max, 128 << 20); /* the default: there is more than enough */
    assert_int_equal(options.http_limits.connection_count_max, 4096);
    server_options_init(&options);
    assert_int_equal(server_limit_set(&options, "page_size_max", 13, 4194304), 0);
    options.memory = 1; /* less than any: as with the least */
    memory_fit(&options);
    assert_int_equal(options.memory, 64 << 20);
    assert_int_equal(options.http_limits.connection_count_max, 1024);
    assert_int_equal(options.http_limits.answers_size_max, 4 << 20);
    assert_int_equal(options.http_limits.body_size_max, 2 << 20);
    assert_int_equal(options.limits.page_size_max, 4194304); /* it was set */
    assert_int_equal(options.limits.subscription_count_max, 512);
    server_options_init(&options);
    memory_fit(&options);
    assert_true(options.memory >= 64 << 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_there_is_of_memory_is_what_the_control_groups_allow),
        cmocka_unit_test(limits_follow_from_the_memory_and_stay_as_they_were_set),
        cmocka_unit_test(a_cursor_is_read_back_as_it_was_written),
        cmocka_unit_test(cursors_of_others_and_nonsense_are_told_apart),
        cmocka_unit_test(a_filter_matches_by_the_rule_of_queries),
        cmocka_unit_test(a_filter_keeps_daybooks_own_events_from_others),
        cmocka_unit_test(a_token_is_known_by_its_hash_and_good_for_its_roles),
        cmocka_unit_test(a_word_meant_as_a_role_is_never_a_name),
        cmocka_unit_test(a_token_file_without_tokens_lets_nobody_in),
        cmocka_unit_test(a_broken_token_file_is_refused_by_name),
        cmocka_unit_test(every_answer_of_the_journal_has_a_status),
        cmocka_unit_test(a_failure_that_passes_is_503_and_says_when_to_come_back),
        cmocka_unit_test(every_route_says_what_it_is),
    };

    return cmocka_run_group_tests_name("server", tests, NULL, NULL);
}
