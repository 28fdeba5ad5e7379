/* pages: pages of events that were read lately, encoded, for who asks the same again.
 *
 * An event does not change, so a page is as good as new while nothing was added to what it shows and no body was taken away
 * since; whoever finds one decides that by its stamp. A page with an event about a subject is not kept: erasing that subject
 * need not look for it here.
 *
 * A table of slots by the hash of what was asked; a page displaces the one in its slot. Memory is bounded by `size_max`,
 * PAGE_KEPT_SIZE_MAX a slot. One thread: the loop.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

enum { PAGE_KEPT_SIZE_MAX = 16384 }; /* bytes of a page that is kept, what was asked included */

struct page {
    struct buffer events; /* JSON objects, comma between them */
    uint64_t count;
    uint64_t last;     /* position or version of the last event shown */
    uint64_t examined; /* position the reader has come to */
    bool complete;     /* to the bound; else the limit or page_size_max stopped it */
    bool fleeting;     /* not to be kept */
};

/* When it was read: how far the journal and the stream were, and how often bodies had been taken away. */
struct page_stamp {
    uint64_t head, version, replaced;
};

struct pages;

/* Keeps pages in `size_max` bytes, none when that is too few for one. 0 or -ENOMEM. */
_must_check_ int pages_new(uint64_t size_max, struct pages **ret_pages);
void pages_free(struct pages *pages); /* NULL is fine */

/* The page that was kept for this path and query, and its stamp; NULL: none. Valid until the next call with `pages`. */
const struct page *pages_find(const struct pages *pages, struct bytes path, struct bytes query,
                              struct page_stamp *ret_stamp);
/* Keep a copy, unless it is fleeting, too large, or there is no memory. */
void pages_keep(struct pages *pages, struct bytes path, struct bytes query, const struct page_stamp *stamp,
                const struct page *page);
