/* append_json_walk: what the parser of append_json.h is made of. For its files; nobody else includes it.
 *
 * A walk over the document with tables of fields: each field of an object has a function that takes its value, checks it
 * and puts it where it belongs. A violated rule is noted with the path that led there, and the walk goes on. `int` results
 * are failures only (-ENOMEM, -E2BIG): a violation is not one.
 */
#pragma once

#include "base/json.h"
#include "base/names.h"
#include "journal/append_json.h"
#include "journal/arena.h"

/* What the caller gets, and what it does not need to see. */
struct parsed {
    struct append_json public; /* first */
    struct arena arena;
    struct append_json_violation *violations;
    size_t violation_count, violation_capacity;
    size_t *firsts; /* of each item: index of its first violation */
};

struct parser {
    struct parsed *parsed;
    struct append_json_options options;
    struct buffer path;       /* JSON pointer of the value being looked at */
    size_t violations_before; /* of the append being looked at: where its own begin */
    struct buffer text;       /* scratch */
};

/* ---- violations and paths ---- */

/* Note a violation of the value the path leads to; of its member `key`. */
_printf_(2, 3) int append_json_violation(struct parser *parser, const char *format, ...);
int append_json_violation_at(struct parser *parser, const char *key, const char *detail);

/* Go into a member or an item; the answer is what append_json_path_leave() needs. A path too long for the buffer is cut. */
size_t append_json_path_enter(struct parser *parser, struct bytes key);
size_t append_json_path_enter_index(struct parser *parser, size_t index);
void append_json_path_leave(struct parser *parser, size_t before);

/* Whether the value has this type; if not, that is noted, and *r is how noting went. */
bool append_json_expect_type(struct parser *parser, struct json_value value, enum json_type type, int *r);

/* ---- objects by table ---- */

struct field {
    const char *name;                                                        /* NULL ends the table */
    int (*take)(struct parser *parser, struct json_value value, void *into); /* NULL: known, and read over */
};

int append_json_take_object(struct parser *parser, struct json_value value, const struct field *fields,
                            void *into);

/* ---- values: copies in the arena ---- */

int append_json_keep_string(struct parser *parser, struct json_value value, struct bytes *ret_text);
int append_json_keep_minified(struct parser *parser, struct bytes valid, struct bytes *ret_text);
/* `system`: it may begin with `$`. */
int append_json_check_name(struct parser *parser, enum name_kind kind, struct bytes name, bool system);
int append_json_take_name(struct parser *parser, struct json_value value, enum name_kind kind, bool system,
                          struct bytes *ret_name);
int append_json_take_names(struct parser *parser, struct json_value value, enum name_kind kind, bool system,
                           size_t max, const struct bytes **ret_names, size_t *ret_count);

/* ---- append_json_event.c ---- */

int append_json_take_event(struct parser *parser, struct json_value value, struct journal_event_new *event);
