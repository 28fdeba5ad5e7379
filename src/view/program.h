/* program: a view's sections as prepared statements, ready to be run on events.
 *
 * Belongs to one connection and its thread, like the guard it is prepared through.
 */
#pragma once

#include "journal/journal.h"
#include "view/definition.h"
#include "view/guard.h"

enum {
    PROGRAM_E_DEFINITION = 1, /* the SQL is wrong: "FILE:LINE: …" */
    PROGRAM_E_STATEMENT = 2,  /* a statement failed on this event */
    PROGRAM_E_STOPPED = 3,    /* interrupted by the guard's stop flag */
    PROGRAM_E_STORE = 4,      /* the file failed, not the statement: the SQLite code stands in ret_code */
};

struct program;

/* Run the definition's schema part on an empty database. 0, PROGRAM_E_DEFINITION or PROGRAM_E_STORE. */
int program_make_tables(struct guard *guard, const struct definition *definition, int *ret_code,
                        char *ret_error);

/* Prepare every section. Answers as above, or -ENOMEM. */
int program_compile(struct guard *guard, const struct definition *definition, struct program **ret_program,
                    int *ret_code, char *ret_error);
void program_free(struct program *program);

/* Run what the definition says for the event's type, in the order of the file; nothing for a type it does not name. */
int program_run(struct program *program, const struct journal_event *event, int *ret_code, char *ret_error);

/* The distinct types named; none and `ret_all`: every event. Valid as long as the program. */
size_t program_types(const struct program *program, const struct bytes **ret_types, bool *ret_all);
