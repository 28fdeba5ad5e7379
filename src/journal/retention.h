/* retention: how long events are kept, stream by stream. What may be scavenged is what is past it.
 *
 * A rule is for one stream, or for every stream whose name begins with a prefix; the rule of the stream itself goes before
 * prefixes, a longer prefix before a shorter one, and nothing is added up: one rule decides. The empty prefix is for every
 * event, also those in no stream, which only an age can concern. Rules are events of the journal itself, in the stream
 * `$retention`, so that they follow it to every follower and backup: `$RetentionSet` and `$RetentionRemoved`
 * (docs/scavenging.md). The last one for a name stands.
 *
 * An event is past its rule when any of the three says so:
 *     max_age_s         it is older than so many seconds
 *     max_count         there are at least so many newer ones in its stream
 *     truncate_before   its version is below this one
 */
#pragma once

#include "journal/journal.h"

/* Limits. */
enum {
    RETENTION_RULE_COUNT_MAX = 10000,  /* rules of a journal; one more is refused */
    RETENTION_BODY_SIZE_MAX = 4096,    /* bytes of a rule's JSON */
    RETENTION_VIOLATION_COUNT_MAX = 8, /* told of at once */
};
#define RETENTION_AGE_S_MAX UINT64_C(100000000000) /* three thousand years: later sums cannot overflow */

enum { RETENTION_E_MALFORMED = 1, RETENTION_E_INVALID = 2 };

struct retention_rule {
    struct bytes name; /* of the stream, or what the names of streams begin with */
    bool prefix;
    uint64_t max_age_s, max_count, truncate_before; /* 0: says nothing */
    uint64_t position;                              /* of the event that set it */
    int64_t time_us;                                /* likewise */
};

struct retention_violation {
    const char *pointer;  /* "/max_age_s" */
    const char *sentence; /* static */
};
struct retention_violations {
    struct retention_violation items[RETENTION_VIOLATION_COUNT_MAX];
    size_t count;
    char detail[160]; /* RETENTION_E_MALFORMED: what and where */
};

/* Read a rule's three numbers from a JSON object: {"max_age_s":86400,"max_count":100,"truncate_before":7}, at least one of
 * them, and sets them in `rule`. 0; RETENTION_E_MALFORMED: no JSON object, or above RETENTION_BODY_SIZE_MAX;
 * RETENTION_E_INVALID with all violations; -ENOMEM. Unless 0, `rule` is as it was. */
_must_check_ int retention_parse(struct bytes json, struct retention_rule *rule,
                                 struct retention_violations *ret_violations);
/* Append the rule to `out` as JSON: {"stream":"room-1","max_count":100}. 0, -ENOMEM. */
_must_check_ int retention_write(const struct retention_rule *rule, struct buffer *out);
/* The event that sets the rule, or removes the one of its name: for journal_submit(). Its data stands in `data`, which must
 * outlive it. 0, -ENOMEM. */
_must_check_ int retention_event(const struct retention_rule *rule, bool removed, struct buffer *data,
                                 struct journal_event_new *ret_event);

struct retention;

/* Read the rules that stand at the head. 0, -EBADMSG: an event of `$retention` is not one of ours; -errno. */
_must_check_ int retention_load(struct journal *journal, struct retention **ret_retention);
void retention_free(struct retention *retention); /* NULL is fine */
static inline void retention_freep(struct retention **retention)
{
    retention_free(*retention);
}

/* The rules, by name, prefixes behind streams. */
const struct retention_rule *retention_rules(const struct retention *retention, size_t *ret_count);
/* The rule of exactly this name; NULL: none. */
const struct retention_rule *retention_of(const struct retention *retention, struct bytes name, bool prefix);
/* The rule that decides for events of a stream (empty: in none); NULL: none, they are kept. */
const struct retention_rule *retention_find(const struct retention *retention, struct bytes stream);
/* Whether the event is past the rule now. `stream_version`: of its stream at the head. */
bool retention_is_past(const struct retention_rule *rule, const struct journal_event *event,
                       uint64_t stream_version, int64_t now_us);
