/* state: what a tag's events add up to, folded by the application.
 *
 * A state is flat bytes (app.h A2) and the position up to which every event with its tag is in it. Nothing
 * here locks: who may touch a state is settled by who holds it (command.h C3).
 */
#pragma once

#include "base/json.h"
#include "command/memory.h"
#include <daybook/app.h>
#include "journal/journal.h"

/* One state. `view` is what the application sees; host->grow() finds the rest behind it. */
struct command_state {
    struct daybook_state view;
    const struct daybook_kind *kind;
    uint64_t position; /* every event with this tag up to here is in it */
    bool failed;       /* grow() said no: the state means nothing any more */
};

/* An event as evolve() sees it, and what the getters need. Reused from event to event: its memory stays. */
struct daybook_event {
    struct bytes type;
    uint64_t position;
    int64_t time_us;
    struct bytes data; /* JSON, or empty */
    bool parsed;
    struct json_doc doc;
    struct arena texts; /* unescaped texts, until evolve() returns */
};

/* What folding needs: the application's upcasters, its host, and room to work in. One thread at a time. */
struct command_folder {
    const struct daybook_app *app;
    struct daybook_event event, upcast;
    struct arena memory; /* what upcasters build, until evolve() returns */
    uint64_t folded;     /* evolve() calls, for the metrics */
    bool about_subject;  /* one of the events was sealed for a subject: the state may hold what can be erased */
};
void command_folder_deinit(struct command_folder *folder);

/* A state before any event. -ENOMEM. */
_must_check_ int command_state_new(const struct daybook_kind *kind, struct command_state **ret_state);
_must_check_ int command_state_copy(const struct command_state *state, struct command_state **ret_state);
void command_state_free(struct command_state *state);
static inline void command_state_freep(struct command_state **state)
{
    command_state_free(*state);
}

/* Bytes it takes. */
size_t command_state_size(const struct command_state *state);

/* Fold one event in, upcast first if the application says so, and move the position to it. 0; COMMAND_E_APP: the
 * application could not (an upcaster that builds no event, a state above its limit); COMMAND_E_SCAVENGED: the event is a
 * stub; -ENOMEM. Unless it is 0 the state must be thrown away. Daybook's own events are passed over. */
_must_check_ int command_state_fold(struct command_state *state, struct command_folder *folder,
                                    const struct journal_event *event);

/* Functions of the host's table (host.c puts them there). */
struct daybook_text host_event_type(const struct daybook_event *event);
uint64_t host_event_position(const struct daybook_event *event);
int64_t host_event_time_us(const struct daybook_event *event);
bool host_get_text(const struct daybook_event *event, const char *name, struct daybook_text *ret_text);
bool host_get_integer(const struct daybook_event *event, const char *name, int64_t *ret_integer);
bool host_get_boolean(const struct daybook_event *event, const char *name, bool *ret_boolean);
bool host_get_date(const struct daybook_event *event, const char *name, int64_t *ret_days);
void *host_grow(struct daybook_state *state, size_t size);
