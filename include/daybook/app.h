/*
 * daybook/app.h: how an application decides. This header is all that an application includes and it links
 * nothing.
 *
 * An application is a shared object, app.so, that exports one function, daybook_app(). It is handed a table
 * of functions (struct daybook_host) and fills in another (struct daybook_app): which commands there are, and
 * which kinds of tag.
 *
 * How a command goes. A client sends JSON. daybook checks it against the command's fields and answers every
 * problem at once. Then the application's tags() says which tags the decision depends on, its boundary:
 * `reservation:R-1` and `rooms:Resort/A`. Each kind of tag has a state, made by init() and carried forward by
 * evolve() over every event with that tag since the beginning. decide() is handed those states, in the order
 * tags() asked for them, and the command; it answers with events, which are stored all or none, or with a
 * refusal, or with nothing at all. No other command on one of these tags is decided between the folding of
 * the states and the storing of the events, so that a decision is never made on something out of date.
 *
 * What daybook relies on:
 * A1 tags(), init(), evolve() and decide() are pure: the same input gives the same output. They read no
 * clock, no file, no random number and no variable that changes. A date that matters is a field of the
 * command. A2 A state is flat: no pointers into itself or elsewhere. daybook copies it, drops it and folds it
 * anew as it likes. A3 evolve() says what an event means and cannot refuse: what is stored has happened.
 * decide() is where rules live. A4 Tables and texts named in struct daybook_app live as long as the program.
 * What is handed to a function is valid until that function returns. A5 Every function may be called from any
 * thread, two at once too, never two on the same state.
 *
 * A crash in here ends the server: nothing acknowledged is lost, and what was not acknowledged is safe to
 * send again.
 *
 * Versions. DAYBOOK_APP_VERSION counts changes that would break an application that was compiled before; the
 * server refuses one made for another version, by name. Both tables begin with struct_size, their size as
 * their author knew it, and grow only at the end: a newer server serves an older application as it is.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DAYBOOK_APP_VERSION 1

/* Marks the one exported function, so that everything else can be compiled with -fvisibility=hidden. */
#define DAYBOOK_APP_EXPORT __attribute__((visibility("default")))

/* Limits; a table that breaks one is refused when it is loaded. */
enum {
    DAYBOOK_NAME_SIZE_MAX = 64,                /* bytes of a command's, field's or kind's name */
    DAYBOOK_FIELD_COUNT_MAX = 64,              /* fields of a command */
    DAYBOOK_KIND_COUNT_MAX = 64,               /* kinds of tag */
    DAYBOOK_COMMAND_COUNT_MAX = 1000,          /* commands of an application */
    DAYBOOK_BOUNDARY_COUNT_MAX = 64,           /* tags of one command's boundary */
    DAYBOOK_TEXT_SIZE_MAX = 65536,             /* bytes of a text field, whatever its table says */
    DAYBOOK_STATE_SIZE_MAX = 16 * 1024 * 1024, /* bytes of one state */
    DAYBOOK_DEPTH_MAX = 32,                    /* objects and arrays open at once while building */
};

/* UTF-8, `size` bytes, not ended by a NUL. */
struct daybook_text {
    const char *data;
    size_t size;
};

/* A text from a literal: DAYBOOK_TEXT("booked"). */
#define DAYBOOK_TEXT(literal) ((struct daybook_text){"" literal, sizeof(literal) - 1})

/* ---- commands ---- */

enum daybook_type {
    DAYBOOK_TYPE_TEXT = 1, /* a JSON string without control characters; min and max are bytes (max 0: 256) */
    DAYBOOK_TYPE_INTEGER,  /* a JSON number that is whole, within min…max (both 0: any 64-bit one) */
    DAYBOOK_TYPE_BOOLEAN,  /* true or false */
    DAYBOOK_TYPE_DATE,     /* a JSON string "YYYY-MM-DD", a day that exists, years 0001…9999 */
};

/* A field of a command. Every field must be there, and no other may be. */
struct daybook_field {
    const char *name;
    enum daybook_type type;
    int64_t min, max;
    const char *title; /* for people: what it is, in a few words; may be NULL */
};

/* A field's value. Values come in the order of the command's fields. */
struct daybook_value {
    struct daybook_text text; /* TEXT: unescaped; DATE: as it was sent; else empty */
    int64_t integer;          /* INTEGER; BOOLEAN: 0 or 1; DATE: days since 1970-01-01 */
};

struct daybook_tags;  /* where tags() puts the boundary */
struct daybook_out;   /* where decide() puts events or a refusal */
struct daybook_event; /* an event that was stored */

/* A state: `size` bytes at `data`, aligned for anything. */
struct daybook_state {
    void *data;
    size_t size;
};

struct daybook_command {
    const char *name;  /* "BookRoom": letters, digits, `-` and `_` */
    const char *title; /* for people; may be NULL */
    const struct daybook_field *fields;
    size_t field_count;

    /* The boundary: host->tag() for each tag the decision depends on, at least one. */
    void (*tags)(const struct daybook_value *values, struct daybook_tags *tags);

    /* The decision. states[i] belongs to the i-th tag; a tag that was asked for twice has one state, in both
     * places. */
    void (*decide)(const struct daybook_state *const states[], const struct daybook_value *values,
                   struct daybook_out *out);
};

/* ---- kinds of tag ---- */

struct daybook_kind {
    const char *prefix; /* "reservation": the tag is "reservation:R-1". Letters, digits, `-` and `_` */
    size_t state_size;  /* bytes, before any event; zeroed */

    /* Make the state of a tag without events; NULL: zeroes are right. */
    void (*init)(struct daybook_state *state);

    /* Carry the state over one event. A type that means nothing here is passed over. host->grow() may be
     * used. */
    void (*evolve)(struct daybook_state *state, const struct daybook_event *event);
};

/* An old event in today's form. When evolve() would meet an event of this type, the upcaster builds another
 * from it: host->event() with the new type, then host->put_…(). What it builds is upcast again if its new
 * type is in the table too. The journal keeps the old event for ever; tags, position and time stay those of
 * the old one. */
struct daybook_upcaster {
    const char *type;
    void (*upcast)(const struct daybook_event *old, struct daybook_out *out);
};

/* ---- what the application fills in ---- */

struct daybook_app {
    size_t struct_size; /* set by daybook: how much of this table the server knows. Write no further */
    uint32_t version;   /* set it to DAYBOOK_APP_VERSION */
    const char *name;   /* "hotel" */
    const struct daybook_kind *kinds;
    size_t kind_count;
    const struct daybook_command *commands;
    size_t command_count;
    const struct daybook_upcaster *upcasters;
    size_t upcaster_count;

    /* Of all states, one higher whenever what is in one changes, in layout or meaning. Not 0: a state may be kept in the
     * journal in place of the events it was folded from, as the bytes it is (A2), and is given back only to an application
     * of this name and state_version. 0: states are never kept. */
    uint32_t state_version;
};

/* ---- what the application is handed ---- */

struct daybook_host {
    size_t struct_size;
    uint32_t version; /* DAYBOOK_APP_VERSION of the server */

    /* --- in tags() and decide() --- */

    /* In tags(): one tag of the boundary, "kind:part/part…". Parts are escaped, `%` as %25 and `/` as %2F, so
     * that different parts never make the same tag. */
    void (*tag)(struct daybook_tags *tags, const char *kind, const struct daybook_text *parts,
                size_t part_count);

    /* --- in evolve() --- */

    struct daybook_text (*event_type)(const struct daybook_event *event);
    uint64_t (*event_position)(const struct daybook_event *event);
    int64_t (*event_time_us)(const struct daybook_event *event); /* microseconds since 1970, UTC */

    /* A member of the event's data: true and its value, or false, *ret untouched, when it is missing or of
     * another type. `name` is a member's name, or a JSON pointer (RFC 6901) when it begins with `/`. */
    bool (*get_text)(const struct daybook_event *event, const char *name, struct daybook_text *ret_text);
    bool (*get_integer)(const struct daybook_event *event, const char *name, int64_t *ret_integer);
    bool (*get_boolean)(const struct daybook_event *event, const char *name, bool *ret_boolean);
    bool (*get_date)(const struct daybook_event *event, const char *name, int64_t *ret_days);

    /* Make the state at least `size` bytes; what is new is zeroed, the content may move. The state's data, or
     * NULL (no memory, or above DAYBOOK_STATE_SIZE_MAX): return then, and daybook gives the command up. */
    void *(*grow)(struct daybook_state *state, size_t size);

    /* --- in decide() --- */

    /* Begin an event; what follows until the next event() or refuse() goes into it. `stream` may be empty:
     * most events need none, a tag does as well. */
    void (*event)(struct daybook_out *out, const char *type, struct daybook_text stream);

    /* Put a tag on the event just begun, built as by tag(). An event without the tag of a state does not
     * reach it. */
    void (*event_tag)(struct daybook_out *out, const char *kind, const struct daybook_text *parts,
                      size_t part_count);

    /* Refuse instead: `rule` is a stable name for programs ("no-free-room"), `sentence` is for people. Facts
     * follow as put_…(); they stand beside the members of the problem document (RFC 9457), so that none may be
     * called type, title, status, detail, instance, code, rule or violations. A refusal takes back every event
     * of this decision; the first one stands. */
    void (*refuse)(struct daybook_out *out, const char *rule, const char *sentence);

    /* Members of the event's data or the refusal's facts; inside an array `name` is NULL. Mistakes (a text
     * that is not UTF-8, a name where there should be none, close() without open) are remembered, and the
     * command fails whole. */
    void (*put_text)(struct daybook_out *out, const char *name, struct daybook_text text);
    void (*put_integer)(struct daybook_out *out, const char *name, int64_t integer);
    void (*put_boolean)(struct daybook_out *out, const char *name, bool boolean);
    void (*put_date)(struct daybook_out *out, const char *name, int64_t days);
    void (*put_null)(struct daybook_out *out, const char *name);
    void (*open_object)(struct daybook_out *out, const char *name);
    void (*open_array)(struct daybook_out *out, const char *name);
    void (*close)(struct daybook_out *out);

    /* --- in decide(), came later: ask DAYBOOK_HOST_HAS(host, event_subject) first --- */

    /* Say whom the data of the event just begun is about: "guest-17", 1 to 256 bytes. The data is sealed with that
     * subject's key; once the subject is erased, evolve() sees the event without members. Once for each event. */
    void (*event_subject)(struct daybook_out *out, struct daybook_text subject);
};

/* The one function app.so exports. `host` lives as long as the program. 0, or anything else when the
 * application cannot run on this host. */
DAYBOOK_APP_EXPORT int daybook_app(const struct daybook_host *host, struct daybook_app *ret_app);

/* Its name, for the loader, and its type. */
#define DAYBOOK_APP_SYMBOL "daybook_app"
typedef int daybook_app_fn(const struct daybook_host *host, struct daybook_app *ret_app);

/* Whether a host is at least as new as a member asks: DAYBOOK_HOST_HAS(host, close). */
#define DAYBOOK_HOST_HAS(host, member)                                                                       \
    ((host)->struct_size >= offsetof(struct daybook_host, member) + sizeof((host)->member))

#ifdef __cplusplus
}
#endif
