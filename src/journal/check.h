/* check: what an append is compared with at its turn. Ids first, then expected versions and the condition. */
#pragma once

#include "journal/arena.h"
#include "journal/past.h"

/* Each looks at the whole append and fills in `result` unless it answers 0. Memory of results comes from the arena.
 * 0: go on. 1: the append is decided, `result` says how. < 0: -errno. */

/* No id is known, or all are, in order, from one append, with the same content: a replay. */
_must_check_ int check_ids(struct past *past, struct arena *arena, const struct journal_append *append,
                           struct journal_result *result);

/* Expected versions and the condition; all violations are listed. */
_must_check_ int check_guards(struct past *past, struct arena *arena, const struct journal_append *append,
                              struct journal_result *result);

/* The event's tags as they are stored: sorted, once each. The event's own if they are so already, else in the arena; 0 or -ENOMEM. */
_must_check_ int check_sort_tags(struct arena *arena, const struct journal_event_new *event,
                                 const struct bytes **ret_tags, size_t *ret_count);

/* The content type as it is stored: empty for application/json. */
struct bytes check_content_type(struct bytes content_type);

/* Note in `streams`, which has room, that `stream` now is at `version`. */
void check_note_version(struct journal_stream_version *streams, size_t *count, struct bytes stream,
                        uint64_t version);
