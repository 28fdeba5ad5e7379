/* query: what an event must have to be meant. The one definition of "matches"; an index only proposes candidates.
 *
 * Events whose stream or type begins with `$` are daybook's own (J8). They match only for a reader that asks for them,
 * or an item that itself names a type or tag beginning with `$`.
 */
#pragma once

#include "journal/arena.h"
#include "journal/journal.h"

/* Whether a name begins with `$`; whether the event is daybook's own. */
bool query_name_is_system(struct bytes name);
bool query_event_is_system(const struct journal_event *event);

/* The event's tags are sorted, as they are in every record. */
bool query_item_matches(const struct journal_item *item, const struct journal_event *event, bool system);
bool query_matches(const struct journal_query *query, const struct journal_event *event, bool system);

/* Numbers, names, no empty item. 0, or JOURNAL_E_INVALID with a sentence in `ret_detail` (256 bytes). */
_must_check_ int query_check(const struct journal_query *query, char ret_detail[256]);

/* A deep copy in the arena: 0 or -ENOMEM. */
_must_check_ int query_copy(struct arena *arena, const struct journal_query *query,
                            struct journal_query *ret_copy);
