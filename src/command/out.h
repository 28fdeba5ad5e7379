/* out: where an application puts what it wants: the tags of a boundary, the events of a decision, a refusal.
 *
 * Nothing an application does here can do harm: every call is checked, the first mistake is kept as a
 * sentence, later calls do nothing, and the command fails whole (COMMAND_E_APP).
 */
#pragma once

#include "base/json.h"
#include "command/memory.h"
#include <daybook/app.h>
#include "journal/journal.h"

/* ---- a boundary ---- */

struct command_boundary_tag {
    const struct daybook_kind *kind;
    struct bytes tag;
};

struct daybook_tags {
    const struct daybook_app *app;
    struct arena *arena;
    struct command_boundary_tag items[DAYBOOK_BOUNDARY_COUNT_MAX];
    size_t count;
    const char *problem; /* NULL: none */
    int failure;
};

/* 0; COMMAND_E_APP with `problem` set; -ENOMEM. */
_must_check_ int command_tags_finish(struct daybook_tags *tags);

/* ---- a decision ---- */

enum {
    COMMAND_OUT_SIZE_MAX = 4 * 1024 * 1024
}; /* bytes of data of one event or refusal: the journal takes less */

struct daybook_out {
    const struct daybook_app *app;
    struct arena *arena; /* holds all that is built */
    struct journal_event_new *events;
    size_t event_count, event_capacity;
    bool refused;
    struct bytes rule, sentence, facts;
    const char *problem;
    int failure;

    /* what is being built */
    bool open;
    struct buffer text;
    struct json_writer writer;
    unsigned depth;     /* objects and arrays open, the outermost too */
    uint64_t arrays;    /* a bit a level: it is an array */
    struct bytes *tags; /* of the event being built */
    size_t tag_count, tag_capacity;
};

/* Forget what was built, keep memory. What `events` pointed at stays as long as the arena. */
void command_out_clear(struct daybook_out *out);

/* End what is being built. 0; COMMAND_E_APP with `problem` set; -ENOMEM, -E2BIG. */
_must_check_ int command_out_finish(struct daybook_out *out);

void command_out_deinit(struct daybook_out *out);

/* ---- functions of the host's table (host.c puts them there) ---- */

void host_tag(struct daybook_tags *tags, const char *kind, const struct daybook_text *parts,
              size_t part_count);
void host_event(struct daybook_out *out, const char *type, struct daybook_text stream);
void host_event_tag(struct daybook_out *out, const char *kind, const struct daybook_text *parts,
                    size_t part_count);
void host_event_subject(struct daybook_out *out, struct daybook_text subject);
void host_refuse(struct daybook_out *out, const char *rule, const char *sentence);
void host_put_text(struct daybook_out *out, const char *name, struct daybook_text text);
void host_put_integer(struct daybook_out *out, const char *name, int64_t integer);
void host_put_boolean(struct daybook_out *out, const char *name, bool boolean);
void host_put_date(struct daybook_out *out, const char *name, int64_t days);
void host_put_null(struct daybook_out *out, const char *name);
void host_open_object(struct daybook_out *out, const char *name);
void host_open_array(struct daybook_out *out, const char *name);
void host_close(struct daybook_out *out);
