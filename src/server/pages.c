#include "server/pages.h"

#include <stdlib.h>

struct kept {
    struct buffer asked; /* path, '?', query; empty: the slot is */
    struct page_stamp stamp;
    struct page page;
};

struct pages {
    size_t count;
    struct kept slots[];
};

int pages_new(uint64_t size_max, struct pages **ret_pages)
{
    size_t count = (size_t)(size_max / PAGE_KEPT_SIZE_MAX);
    struct pages *pages = calloc(1, sizeof(*pages) + count * sizeof(pages->slots[0]));

    if (!pages)
        return -ENOMEM;
    pages->count = count;
    *ret_pages = pages;
    return 0;
}

void pages_free(struct pages *pages)
{
    for (size_t i = 0; pages && i < pages->count; i++) {
        buffer_deinit(&pages->slots[i].asked);
        buffer_deinit(&pages->slots[i].page.events);
    }
    free(pages);
}

/* FNV-1a. Who looks for questions with the same hash makes the server read what he asks for, as if nothing were kept. */
static uint64_t hash_more(uint64_t hash, struct bytes text)
{
    for (size_t i = 0; i < text.size; i++)
        hash = (hash ^ text.data[i]) * UINT64_C(0x100000001b3);
    return hash;
}

static size_t slot_of(const struct pages *pages, struct bytes path, struct bytes query)
{
    uint64_t hash = hash_more(hash_more(UINT64_C(0xcbf29ce484222325), path), BYTES_LITERAL("?"));

    return (size_t)(hash_more(hash, query) % pages->count);
}

static bool is_asked(const struct kept *kept, struct bytes path, struct bytes query)
{
    struct bytes asked = buffer_bytes(&kept->asked);

    return asked.size == path.size + 1 + query.size && bytes_equal(bytes_slice(asked, 0, path.size), path) &&
           asked.data[path.size] == '?' && bytes_equal(bytes_slice(asked, path.size + 1, SIZE_MAX), query);
}

const struct page *pages_find(const struct pages *pages, struct bytes path, struct bytes query,
                              struct page_stamp *ret_stamp)
{
    const struct kept *kept = pages->count > 0 ? &pages->slots[slot_of(pages, path, query)] : NULL;

    if (!kept || !is_asked(kept, path, query))
        return NULL;
    *ret_stamp = kept->stamp;
    return &kept->page;
}

static int note_asked(struct kept *kept, struct bytes path, struct bytes query)
{
    int r;

    buffer_clear(&kept->asked);
    r = buffer_append_bytes(&kept->asked, path);
    r = error_first(r, buffer_append_byte(&kept->asked, '?'));
    return error_first(r, buffer_append_bytes(&kept->asked, query));
}

void pages_keep(struct pages *pages, struct bytes path, struct bytes query, const struct page_stamp *stamp,
                const struct page *page)
{
    if (pages->count == 0 || page->fleeting ||
        page->events.size + path.size + query.size + 1 > PAGE_KEPT_SIZE_MAX)
        return;
    struct kept *kept = &pages->slots[slot_of(pages, path, query)];
    struct buffer events = kept->page.events;
    buffer_clear(&events);
    kept->page = *page;
    kept->stamp = *stamp;
    int r = buffer_append_bytes(&events, buffer_bytes(&page->events));
    kept->page.events = events;
    r = error_first(r, note_asked(kept, path, query));
    if (r < 0)
        buffer_clear(&kept->asked);
}
