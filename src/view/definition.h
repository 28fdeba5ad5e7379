/* definition: an SQL file of the application, taken apart. Format: docs/formats/view.md.
 *
 * Reading a file needs no database: it is cut into a header (`-- key: value` lines), the part that makes the tables, and
 * one section for each `-- on Type[, Type]` line; a query is its header and one select. What stands inside the parts is
 * SQL, and SQLite judges it later, with the line numbers kept here.
 *
 * A definition owns a copy of the text, and everything in it points there. It is not changed once made, so threads share
 * it freely.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/hash.h"

enum definition_kind { DEFINITION_VIEW, DEFINITION_QUERY };

enum { DEFINITION_E_INVALID = 1 };

/* A piece of the text and where it begins in the file. */
struct definition_part {
    struct bytes sql;
    unsigned line; /* from 1 */
};

/* `-- on RoomBooked, ReservationCancelled` and what follows it. */
struct definition_section {
    struct bytes *types; /* "*" alone: every event */
    size_t type_count;
    struct definition_part part;
};

enum definition_type {
    DEFINITION_ANY,
    DEFINITION_TEXT,
    DEFINITION_INTEGER,
    DEFINITION_REAL,
    DEFINITION_DATE,   /* YYYY-MM-DD, a day that exists */
    DEFINITION_CHOICE, /* one of some words: (month|year) */
};

/* `-- param: hotel text`, `-- param: by (month|year) = month` */
struct definition_param {
    struct bytes name;
    enum definition_type type;
    struct bytes choices; /* of a choice: "month|year" */
    bool has_default;
    struct bytes default_value;
};

struct definition {
    enum definition_kind kind;
    char *file; /* for messages: "views/availability.sql" */
    char *text;
    size_t text_size;
    struct hash256 hash; /* of the text: a changed file is a changed view, whatever its version says */
    char *name;
    uint64_t version;              /* views */
    struct definition_part schema; /* views: what makes the tables */
    struct definition_section *sections;
    size_t section_count;
    struct definition_part select; /* queries */
    struct bytes *uses;
    size_t use_count;
    struct definition_param *params; /* those declared; the select may name more */
    size_t param_count;
};

/* Take the text apart. `file` is what messages call it; a view's or query's name must be the file's, without folder and
 * ".sql". 0 and a definition to be freed; DEFINITION_E_INVALID with a sentence "FILE:LINE: …" in `ret_error`
 * (VIEW_ERROR_SIZE bytes); -ENOMEM. */
int definition_parse(enum definition_kind kind, const char *file, struct bytes text,
                     struct definition **ret_definition, char *ret_error);
void definition_free(struct definition *definition);
static inline void definition_freep(struct definition **definition)
{
    definition_free(*definition);
}

/* Whether a view has a section for events of this type. "*" is for all but daybook's own. */
bool definition_handles(const struct definition *definition, struct bytes type);
/* Whether it has a section for `$compacted`: it can begin there, and passes over what was scavenged before. */
bool definition_compacts(const struct definition *definition);

/* The file's line at which a part's byte `offset` stands: for SQLite's errors. */
unsigned definition_line(struct definition_part part, size_t offset);

/* Whether this may be the name of a view, a query or a parameter: a letter or _, then letters, digits and _, at most
 * VIEW_NAME_SIZE_MAX bytes. */
bool definition_name_ok(struct bytes name);
