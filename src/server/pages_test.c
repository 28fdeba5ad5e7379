/* pages: what is kept is found again by exactly what was asked, and memory stays within its bound. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "server/pages.h"

static const struct page_stamp stamp = {.head = 7, .version = 3, .replaced = 1};

static void keep(struct pages *pages, const char *path, const char *query, const char *text, bool fleeting)
{
    struct page page = {.count = 2, .last = 3, .examined = 7, .complete = true, .fleeting = fleeting};

    assert_int_equal(buffer_append_string(&page.events, text), 0);
    pages_keep(pages, bytes_from_string(path), bytes_from_string(query), &stamp, &page);
    buffer_deinit(&page.events);
}

static const struct page *find(struct pages *pages, const char *path, const char *query)
{
    struct page_stamp found;
    const struct page *page =
        pages_find(pages, bytes_from_string(path), bytes_from_string(query), &found);

    if (page)
        assert_memory_equal(&found, &stamp, sizeof(stamp));
    return page;
}

static void a_page_is_found_by_exactly_what_was_asked(void **state)
{
    struct pages *pages;

    assert_int_equal(pages_new(16 * PAGE_KEPT_SIZE_MAX, &pages), 0);
    assert_null(find(pages, "/v1/streams/a", ""));
    keep(pages, "/v1/streams/a", "", "{}", false);
    const struct page *page = find(pages, "/v1/streams/a", "");
    assert_non_null(page);
    assert_true(bytes_equal(buffer_bytes(&page->events), BYTES_LITERAL("{}")));
    assert_true(page->count == 2 && page->last == 3 && page->examined == 7 && page->complete);
    assert_null(find(pages, "/v1/streams/a", "from=2"));
    assert_null(find(pages, "/v1/streams/", "a"));
    assert_null(find(pages, "/v1/streams/b", ""));
    keep(pages, "/v1/streams/a", "", "{},{}", false);
    assert_int_equal(find(pages, "/v1/streams/a", "")->events.size, 5);
    pages_free(pages);
}

/* Whatever is kept, a slot holds one page and no page is larger than a slot. */
static void what_is_kept_stays_within_its_bound(void **state)
{
    static char large[PAGE_KEPT_SIZE_MAX + 1];
    struct pages *pages;
    char path[32];
    size_t found = 0;

    memset(large, '1', PAGE_KEPT_SIZE_MAX);
    assert_int_equal(pages_new(4 * PAGE_KEPT_SIZE_MAX, &pages), 0);
    keep(pages, "/large", "", large, false);
    assert_null(find(pages, "/large", ""));
    for (int i = 0; i < 100; i++) {
        snprintf(path, sizeof(path), "/v1/streams/%d", i);
        keep(pages, path, "", "{}", false);
        assert_non_null(find(pages, path, ""));
    }
    for (int i = 0; i < 100; i++) {
        snprintf(path, sizeof(path), "/v1/streams/%d", i);
        found += find(pages, path, "") != NULL;
    }
    assert_true(found >= 1 && found <= 4);
    pages_free(pages);
}

static void a_fleeting_page_is_not_kept(void **state)
{
    struct pages *pages;

    assert_int_equal(pages_new(4 * PAGE_KEPT_SIZE_MAX, &pages), 0);
    keep(pages, "/v1/streams/a", "", "{}", true);
    assert_null(find(pages, "/v1/streams/a", ""));
    pages_free(pages);
}

static void with_room_for_none_none_is_kept(void **state)
{
    struct pages *pages;

    assert_int_equal(pages_new(PAGE_KEPT_SIZE_MAX - 1, &pages), 0);
    keep(pages, "/v1/streams/a", "", "{}", false);
    assert_null(find(pages, "/v1/streams/a", ""));
    pages_free(pages);
    pages_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_page_is_found_by_exactly_what_was_asked),
        cmocka_unit_test(what_is_kept_stays_within_its_bound),
        cmocka_unit_test(a_fleeting_page_is_not_kept),
        cmocka_unit_test(with_room_for_none_none_is_kept),
    };

    return cmocka_run_group_tests_name("pages", tests, NULL, NULL);
}
