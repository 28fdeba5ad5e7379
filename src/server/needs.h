#pragma once

/* needs: who handles an event, so that a scavenge must leave it: a view with a section for its type, a consumer group that
 * may still give it out, or a decider whose kind of tag it carries. One that has been compacted is needed by nobody who can
 * begin at what took its place: by no decider when each tag of a kind has a newer `$compacted` with a state this
 * application can use; by no view that has a section for `$compacted` when each of its tags has a newer one with data for
 * views. A group is told of every event it is for, compacted or not. */

#include "server/internal.h"

struct scavenger;
struct needs;

enum needs_compact {
    NEEDS_AS_IT_IS,
    NEEDS_COMPACT, /* compact the tags that a decider still needs an event for, and let it go */
    NEEDS_SUPPOSE, /* suppose that had been done: a dry run */
};

/* As views, groups, application and `$compacted` events are now; what groups have done is looked up at each
 * event. 0, -ENOMEM, -errno: the journal cannot be read. */
_must_check_ int needs_new(struct server *server, enum needs_compact compact, struct scavenger *user,
                           struct needs **ret_needs);
void needs_free(struct needs *needs); /* NULL is fine */
struct scavenger *needs_user(const struct needs *needs);
/* Tags that were compacted, or would be. */
uint64_t needs_compacted(const struct needs *needs);

/* "view rooms", "group mails has not acknowledged it" or "decider reservation", valid until the next call; NULL:
 * nobody. Compacting waits for the journal. */
const char *needs_of(struct needs *needs, const struct journal_event *event);
