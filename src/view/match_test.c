/* Patterns by themselves: what fits what, against SQLite's own functions, and that a hostile one is stopped. */
#include "lib/cmocka_all.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/utf8.h"
#include "view/fold.h"
#include "view/match.h"

static bool fits(const char *pattern, const char *text, bool like)
{
    struct match_pattern made;
    struct match_watch watch = {0};
    struct bytes bytes = bytes_from_string(pattern);
    assert_ok(like ? match_like(bytes, '\\', &made) : match_glob(bytes, &made));
    enum match_answer answer = match_text(&made, bytes_from_string(text), &watch);
    match_pattern_deinit(&made);
    assert_true(answer == MATCH_YES || answer == MATCH_NO);
    return answer == MATCH_YES;
}

static void a_pattern_fits_what_it_says(void **state)
{
    static const struct {
        const char *pattern, *text;
        bool like, fits;
    } cases[] = {
        {"a%", "Abc", true, true},         {"%C", "abc", true, true},     {"a_c", "aéc", true, true},
        {"a_c", "abbc", true, false},      {"a\\%c", "a%c", true, true},  {"a\\%c", "abc", true, false},
        {"a\\", "a", true, false},         {"%", "", true, true},         {"", "", true, true},
        {"", "a", true, false},            {"_", "", true, false},        {"%a%b%", "xaybz", true, true},
        {"%a%b%", "xbyaz", true, false},   {"%ab", "aab", true, true},    {"a%a", "a", true, false},
        {"*", "x", false, true},           {"[a-c]?", "b!", false, true}, {"[^a-c]*", "b!", false, false},
        {"[]]", "]", false, true},         {"[a", "a", false, false},     {"A*", "abc", false, false},
        {"*[é-ë]*", "xêy", false, true},   {"?", "語", false, true},       {"*語", "日本語", false, true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (fits(cases[i].pattern, cases[i].text, cases[i].like) != cases[i].fits)
            fail_msg("'%s' on '%s' is not %d", cases[i].pattern, cases[i].text, cases[i].fits);
    }
}

/* On letters that have no case beyond ASCII, SQLite's own functions say the same. */
static void random_patterns_fit_what_sqlite_says_they_fit(void **state)
{
    static const char *const like_bits[] = {"a", "B", "%", "_", "\\%", "é", "%%", "b"};
    static const char *const glob_bits[] = {"a", "B", "*", "?", "[a-b]", "é", "[^b]", "b"};
    static const char *const text_bits[] = {"a", "B", "b", "A", "%", "é", "", "ab"};
    sqlite3 *db = NULL;
    sqlite3_stmt *own[2];
    unsigned seed = 5;
    (void)state;
    assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "select ?2 glob ?1", -1, &own[0], NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "select ?2 like ?1 escape '\\'", -1, &own[1], NULL), SQLITE_OK);
    for (int round = 0; round < 40000; round++) {
        char pattern[64] = "", text[64] = "";
        bool like = round % 2 == 1;
        for (int i = 0; i < 6; i++) {
            seed = seed * 1103515245u + 12345u;
            (void)strncat(pattern, (like ? like_bits : glob_bits)[seed >> 16 & 7], 8);
            (void)strncat(text, text_bits[seed >> 20 & 7], 8);
            if ((seed >> 24 & 3) == 0)
                break;
        }
        (void)sqlite3_bind_text(own[like], 1, pattern, -1, SQLITE_STATIC);
        (void)sqlite3_bind_text(own[like], 2, text, -1, SQLITE_STATIC);
        assert_int_equal(sqlite3_step(own[like]), SQLITE_ROW);
        bool expected = sqlite3_column_int(own[like], 0) != 0;
        (void)sqlite3_reset(own[like]);
        if (fits(pattern, text, like) != expected)
            fail_msg("%s: '%s' on '%s' is not %d", like ? "like" : "glob", pattern, text, expected);
    }
    (void)sqlite3_finalize(own[0]);
    (void)sqlite3_finalize(own[1]);
    (void)sqlite3_close(db);
}

/* Text as people see it: whatever its case, composed or not. */
static void like_minds_neither_case_nor_composition(void **state)
{
    static const struct {
        const char *pattern, *text;
        bool fits;
    } cases[] = {
        {"ÉCOLE", "e\u0301cole", true},        /* composed and not */
        {"e\u0301_ole", "École", true},        /* one character is one, however it is written */
        {"_cole", "e\u0301cole", true},
        {"école", "ecole", false},             /* an accent is an accent */
        {"한글%", "\u1112\u1161\u11ab\u1100\u1173\u11af 이름", true},
        {"\u1112\u1161\u11ab_", "한글", true},
        {"한_", "한글", true},
        {"하%", "한글", false},                /* a syllable with its last consonant is another one */
        {"ПРИВЕТ", "привет", true},            {"ΣΊΣΥΦΟΣ", "σίσυφος", true},
        {"STRASSE", "Straße", true},           {"ﬁsch", "FISCH", true},
        {"%a\u0323\u0307%", "xA\u0307\u0323y", true}, /* marks in another order */
        {"Å", "\u212b", true},                 {"한\\%", "한%", true},
        {"İ", "i\u0307", true},                {"日本%", "日本語", true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (fits(cases[i].pattern, cases[i].text, true) != cases[i].fits)
            fail_msg("'%s' on '%s' is not %d", cases[i].pattern, cases[i].text, cases[i].fits);
    }
    assert_false(fits("É", "e\u0301", false)); /* glob is exact */
}

/* Every character there is, alone and behind another: what is folded is folded. */
static void folding_what_is_folded_changes_nothing(void **state)
{
    static const char *const before[] = {"", "a", "\u1100", "가", "e\u0323"};
    _cleanup_(buffer_deinit) struct buffer text = {0}, once = {0}, twice = {0};
    (void)state;
    for (uint32_t code = 1; code < 0x30000; code++) {
        uint8_t bytes[UTF8_SIZE_MAX];
        if ((code & 0xfffff800) == 0xd800)
            continue;
        buffer_clear(&text);
        buffer_clear(&once);
        buffer_clear(&twice);
        assert_ok(buffer_append_string(&text, before[code % 5]));
        assert_ok(buffer_append(&text, bytes, utf8_encode(code, bytes)));
        assert_ok(fold_text(buffer_bytes(&text), &once));
        assert_ok(fold_text(buffer_bytes(&once), &twice));
        assert_true(utf8_valid(buffer_bytes(&once)));
        assert_true(bytes_equal(buffer_bytes(&once), buffer_bytes(&twice)));
    }
    buffer_clear(&once);
    assert_ok(fold_text(BYTES_LITERAL("A\xff\xc3" "B"), &once));
    assert_true(bytes_equal(buffer_bytes(&once), BYTES_LITERAL("a\xff\xc3" "b")));
}

static bool count_down(void *user)
{
    int *left = user;
    return --*left <= 0;
}

/* V6: whatever the pattern, somebody may stop it. */
static void a_pattern_that_takes_long_asks_whether_it_may_go_on(void **state)
{
    enum { PATTERN_SIZE = 4000, TEXT_SIZE = 800000 };
    _cleanup_(freep) char *pattern = malloc(PATTERN_SIZE + 1), *text = malloc(TEXT_SIZE + 1);
    struct match_pattern made;
    int left = 3;
    struct match_watch watch = {.look = count_down, .user = &left};
    (void)state;
    assert_true(pattern && text);
    memset(text, 'a', TEXT_SIZE);
    text[TEXT_SIZE] = '\0';
    memset(pattern, 'a', PATTERN_SIZE);
    pattern[PATTERN_SIZE] = '\0';
    pattern[0] = '%';
    pattern[PATTERN_SIZE / 2] = '_';
    pattern[PATTERN_SIZE - 2] = 'b';
    pattern[PATTERN_SIZE - 1] = '%';
    assert_ok(match_like(bytes_from_string(pattern), 0, &made));
    assert_int_equal(match_text(&made, bytes_from_string(text), &watch), MATCH_STOPPED);
    assert_int_equal(left, 0);
    match_pattern_deinit(&made);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pattern_fits_what_it_says),
        cmocka_unit_test(random_patterns_fit_what_sqlite_says_they_fit),
        cmocka_unit_test(like_minds_neither_case_nor_composition),
        cmocka_unit_test(folding_what_is_folded_changes_nothing),
        cmocka_unit_test(a_pattern_that_takes_long_asks_whether_it_may_go_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
