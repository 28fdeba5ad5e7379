/* match: whether a text fits a pattern of LIKE or GLOB, in a time that somebody watches.
 *
 * SQLite's own like and glob look at no clock: their cost is the product of pattern and text, so that one row can take
 * minutes. Here a pattern is taken apart once: at its `*` into pieces, of which each must be found behind the one before. A
 * piece of plain text is searched for in linear time; one with single characters or sets in it is tried at each place, and
 * `look` is called every few thousand steps.
 *
 * A pattern is immutable once made, and may be used for any number of texts.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

enum match_answer { MATCH_NO, MATCH_YES, MATCH_STOPPED /* `look` said so */, MATCH_NO_MEMORY };

struct match_pattern {
    struct buffer items; /* literal bytes, and the marks of match.c */
    bool nothing;        /* no text fits: the pattern is malformed (a glob's set without an end) */
    bool folded;         /* texts are folded before they are compared */
};

/* Asked now and then: true when enough is enough. */
struct match_watch {
    bool (*look)(void *user);
    void *user;
    uint32_t steps;
};

/* LIKE: % any text, _ one character, `escape` (0: none) before what is meant literally; letters match whatever their case,
 * and however they are put together (fold.h). 0 or -ENOMEM; match_pattern_deinit() is right after both. */
int match_like(struct bytes text, uint32_t escape, struct match_pattern *ret_pattern);
/* GLOB: * any text, ? one character, [a-c] and [^a-c] one of a set; exact. 0 or -ENOMEM. */
int match_glob(struct bytes text, struct match_pattern *ret_pattern);
void match_pattern_deinit(struct match_pattern *pattern);

enum match_answer match_text(const struct match_pattern *pattern, struct bytes text, struct match_watch *watch);
