/* append_json: what a client asks to have appended, as JSON, checked whole.
 *
 * One parser for POST /v1/append, POST /v1/streams/{stream}, the command line's import and the /dcb dialect. It reports
 * every violation at once, each with the JSON pointer of the value concerned (RFC 6901), and turns what is right into
 * struct journal_append, ready for journal_submit().
 *
 * The form says what the body is:
 *   APPEND_JSON_REQUEST   {"events":[…],"condition"?,"streams"?}, or {"appends":[{…},{…}]} of such
 *   APPEND_JSON_EVENTS    one event or an array of events, all for `stream` of the options
 *   APPEND_JSON_LINE      one event of an export (event_json.h): position, version and time are read over, data may be
 *                         missing, names may begin with `$` if the options say so
 *
 * JSON data and meta are taken as the client's own bytes less insignificant white space. Unknown fields are violations;
 * so is a field said twice. Everything lives in the parsed object, until append_json_free(); nothing points into `text`.
 */
#pragma once

#include "journal/journal.h"

enum {
    APPEND_JSON_APPEND_COUNT_MAX = 1000,   /* appends of one request */
    APPEND_JSON_VIOLATION_COUNT_MAX = 100, /* reported of one append; what is beyond is counted only */
};

/* Answers. */
enum {
    APPEND_JSON_E_MALFORMED =
        1, /* not JSON, a key twice, too deep: `detail` and `offset` say what and where (400) */
    APPEND_JSON_E_INVALID = 2, /* at least one violation (422) */
};

enum append_json_form { APPEND_JSON_REQUEST, APPEND_JSON_EVENTS, APPEND_JSON_LINE };

struct append_json_options {
    enum append_json_form form;
    struct bytes stream; /* APPEND_JSON_EVENTS: the stream; an event may repeat it, but not name another */
    struct bytes
        traceparent; /* not empty: put into each event's meta as "traceparent" unless it has one already */
    bool system;     /* names may begin with `$` */
};

/* One violated rule. */
struct append_json_violation {
    const char *pointer; /* "/events/0/tags/2" */
    const char *detail;  /* "must not be empty": reads on from the name of the value */
};

/* One append of the request. With the `appends` form each may be right or wrong by itself. */
struct append_json_item {
    struct journal_append append; /* prepare, done and user are the caller's to set */
    const struct append_json_violation *violations;
    size_t violation_count; /* 0: `append` can be submitted */
};

struct append_json {
    struct append_json_item *items;
    size_t item_count;
    bool many; /* it was {"appends":[…]}: answer with {"results":[…]} */
    const struct append_json_violation
        *violations; /* of all items, in order, and those that belong to none */
    size_t violation_count;
    size_t violation_count_all; /* also those beyond APPEND_JSON_VIOLATION_COUNT_MAX */
    size_t offset;              /* APPEND_JSON_E_MALFORMED: bytes from the start of `text` */
    char detail[256];           /* a sentence, for every answer but 0 */
};

/* Parse and check. 0, APPEND_JSON_E_*, or -errno. `*ret_parsed` is set for 0 and for both answers (they are described in
 * it) and is the caller's; it is untouched on failure. With {"appends":[…]} violations inside single appends leave the
 * answer 0: look at each item. */
_must_check_ int append_json_parse(struct bytes text, const struct append_json_options *options,
                                   struct append_json **ret_parsed);

/* NULL is fine. */
void append_json_free(struct append_json *parsed);

static inline void append_json_freep(struct append_json **parsed)
{
    append_json_free(*parsed);
}

/* A query as POST /v1/events/query takes it: {"items":[{"types":[…],"tags":[…]}]}, checked as above. On 0 the query is
 * valid until append_json_free(*ret_parsed); on APPEND_JSON_E_* `*ret_parsed` has the violations and no items. */
_must_check_ int append_json_parse_query(struct bytes text, struct append_json **ret_parsed,
                                         struct journal_query *ret_query);
