#pragma once

/* needs: who handles an event, so that a scavenge must leave it: a view with a section for its type, or a decider whose
 * kind of tag it carries. An event that has been compacted is needed by nobody who can begin at what took its place. */

#include "server/internal.h"

struct scavenger;
struct needs;

/* As views and application are now. 0, -ENOMEM, -errno: the journal cannot be read. */
_must_check_ int needs_new(struct server *server, struct scavenger *user, struct needs **ret_needs);
void needs_free(struct needs *needs); /* NULL is fine */
struct scavenger *needs_user(const struct needs *needs);

/* "view rooms" or "decider reservation", valid until the next call; NULL: nobody. */
const char *needs_of(struct needs *needs, const struct journal_event *event);
