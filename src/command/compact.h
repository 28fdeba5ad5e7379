/* compact: the folded state of a tag, written into the journal as an event, for folding to begin at instead of at the
 * tag's first event. What stands before it may be scavenged (docs/scavenging.md).
 *
 * The event `$compacted` is in no stream and carries the tag. Its data:
 *     {"tag":"room:1","app":"hotel","kind":"room","state_version":1,"state":"BASE64","data":{…}}
 * `state` is the kind's state, flat bytes (app.h A2), as it is after every event with the tag before this one: it is folded
 * at the append's own turn. It is used only by an application of the same name, kind and state_version, and never by one
 * whose state_version is 0, which says that its states are not to be kept. `data`, if it was given, is for views.
 */
#pragma once

#include "command/state.h"

struct command_runtime;

#define COMPACT_TYPE BYTES_LITERAL("$compacted")

enum { COMPACT_E_NONE = 1 };

/* What an event `$compacted` holds; texts in the event's memory. */
struct compacted {
    bool has_state; /* one that this application can begin at */
    bool has_data;  /* for views */
};

/* Read one. `app` NULL: no state is of use. 0, or -ENOMEM; a malformed one holds nothing. */
_must_check_ int compact_read(const struct daybook_app *app, const struct journal_event *event,
                              struct compacted *ret_compacted);

/* The state of the newest `$compacted` of a tag that can be used. 0; COMPACT_E_NONE; -errno. */
_must_check_ int compact_find(struct journal *journal, const struct daybook_app *app,
                              const struct daybook_kind *kind, struct bytes tag,
                              struct command_state **ret_state);

/* A tag's state, carried to the head: `from` (taken; NULL: none), or the newest compacted one, or the first event on. 0;
 * COMMAND_E_APP; COMMAND_E_SCAVENGED: events went and no compacted state stands for them; -errno. */
_must_check_ int compact_load(struct journal *journal, const struct daybook_kind *kind, struct bytes tag,
                              struct command_folder *folder, struct command_state *from,
                              struct command_state **ret_state);
