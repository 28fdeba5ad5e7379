#pragma once

/*
 * JSON (RFC 8259), read strictly and without copying: parsing yields a tree of *spans* into the caller's
 * text, so that what a client sent can be kept byte for byte – its numbers, its order of keys, its escapes.
 *
 * Strict means: UTF-8 only, no surrogate without its other half, no duplicate keys (compared after undoing
 * escapes), no comments, no trailing commas, nothing behind the value but white space, depth 64 at most.
 *
 * A document borrows the text, which must stay as long as the document is used. A json_value is a small
 * handle, passed by value, good as long as its document; the handle of something that is not there has the
 * type JSON_MISSING, and every accessor accepts it, so that look-ups can be chained:
 *
 *     struct json_doc doc = {0};
 *     r = json_parse(text, &doc, &error);
 *     r = json_u64(json_get(json_get(json_root(&doc), "condition"), "after"), &after);
 *
 * Invariants: J1 every node's span lies within the text; J2 a container's node is followed by its
 * descendants, in the order of the text, a member's key right before its value; J3 what was parsed needs no
 * checks later.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

#define JSON_DEPTH_MAX 64
#define JSON_SIZE_MAX  ((size_t)1 << 30) /* bytes of one document */

enum json_type {
    JSON_MISSING,
    JSON_NULL,
    JSON_BOOL,
    JSON_NUMBER,
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT,
};

enum {
    JSON_E_INVALID = 1, /* not JSON, or not by the rules above: see json_error */
    JSON_E_TYPE,        /* the value is missing or of another type */
    JSON_E_NOT_INTEGER, /* a number, but written with a fraction or an exponent */
    JSON_E_RANGE,       /* an integer, but too large or too small for the type asked for */
};

struct json_node; /* private */

struct json_doc {
    struct bytes text;
    struct json_node *nodes;
    size_t count, capacity;
};

struct json_value {
    const struct json_doc *doc; /* NULL: missing */
    uint32_t index;
};

struct json_error {
    size_t offset;      /* byte of the text where the trouble was noticed */
    const char *reason; /* the end of a sentence, static: "a comma or ] is expected" */
};

/* ---- reading ---- */

/* Parses text into doc, which is {0} or was used before (its memory is used again). 0; JSON_E_INVALID with
 * *ret_error filled in (it may be NULL); -ENOMEM. Unless it returns 0 the document is empty. */
_must_check_ int json_parse(struct bytes text, struct json_doc *doc, struct json_error *ret_error);

/* Frees the document's memory, not the text. Right for _cleanup_. */
void json_doc_deinit(struct json_doc *doc);

/* The document's value; missing when the document is empty. */
struct json_value json_root(const struct json_doc *doc);

enum json_type json_type(struct json_value value);
const char *json_type_name(enum json_type type); /* "an object", for messages */

static inline bool json_exists(struct json_value value)
{
    return json_type(value) != JSON_MISSING;
}

/* The bytes of the value as they stand in the text, with quotes or braces; empty for a missing one. */
struct bytes json_raw(struct json_value value);

/* Where the value begins in the text. */
size_t json_offset(struct json_value value);

/* Members of an object or items of an array; 0 for anything else. */
size_t json_count(struct json_value value);

/* The member's value; missing when there is none or `object` is no object. Looks at every key in turn. */
struct json_value json_get(struct json_value object, const char *key);

/* Walks the items of an array or the members of an object, in the order of the text; of anything else, nothing.
 *
 *     struct json_cursor at = json_walk(value);
 *     while (json_next(&at))
 *         … at.key (of a member: a string) … at.value …
 */
struct json_cursor {
    struct json_value key, value;
    uint32_t index, next, end;
    bool members;
    const struct json_doc *doc;
};
struct json_cursor json_walk(struct json_value container);
bool json_next(struct json_cursor *cursor);

/* A string's text, escapes undone, appended to out. 0, JSON_E_TYPE, -ENOMEM, -E2BIG. */
_must_check_ int json_string(struct json_value value, struct buffer *out);

/* The same without copying: true when the value is a string without escapes, and the span of its text. */
bool json_string_plain(struct json_value value, struct bytes *ret_text);

/* A string's text as a NUL-terminated string from malloc. 0, JSON_E_TYPE (also for a text that contains a
 * NUL), -ENOMEM. */
_must_check_ int json_string_dup(struct json_value value, char **ret_text);

/* Whether the value is a string and, escapes undone, this text. */
bool json_string_equals(struct json_value value, const char *text);
bool json_string_equals_bytes(struct json_value value, struct bytes text);

/* 0, JSON_E_TYPE, JSON_E_NOT_INTEGER, JSON_E_RANGE. 1.0 and 1e3 are no integers here: what is counted is
 * written without them. */
_must_check_ int json_u64(struct json_value value, uint64_t *ret_number);
_must_check_ int json_i64(struct json_value value, int64_t *ret_number);

/* 0, JSON_E_TYPE, JSON_E_RANGE (beyond the largest double). */
_must_check_ int json_double(struct json_value value, double *ret_number);

/* 0, JSON_E_TYPE. */
_must_check_ int json_bool(struct json_value value, bool *ret_truth);

/* Appends a piece of text that has been parsed (json_raw) to out without its insignificant white space, all
 * else as it was. 0, -ENOMEM, -E2BIG, with out as it was. */
_must_check_ int json_minify(struct bytes valid, struct buffer *out);

/* ---- writing ---- */

/*
 * Appends JSON to a buffer, commas by itself. A failure sticks, later calls do nothing, and json_write_end()
 * tells:
 *
 *     struct json_writer w = json_writer(&buffer);
 *     json_write_object_begin(&w);
 *     json_write_key(&w, "position");
 *     json_write_u64(&w, 7);
 *     json_write_object_end(&w);
 *     r = json_write_end(&w);
 *
 * Calls that would make something other than JSON (a value where a key belongs, an end without a begin) are
 * errors of the program and asserted.
 */
struct json_writer {
    struct buffer *out;
    int failure;
    unsigned depth;
    bool has_value; /* the document has its value, or has begun it */
    bool after_key;
    uint64_t has_items; /* a bit a level: something stands there already */
    uint64_t objects;   /* a bit a level: it is an object */
};

struct json_writer json_writer(struct buffer *out);

/* 0 when a whole value has been written, or the first failure: -ENOMEM, -E2BIG. */
_must_check_ int json_write_end(struct json_writer *w);

void json_write_object_begin(struct json_writer *w);
void json_write_object_end(struct json_writer *w);
void json_write_array_begin(struct json_writer *w);
void json_write_array_end(struct json_writer *w);
void json_write_key(struct json_writer *w, const char *key);
void json_write_key_bytes(struct json_writer *w, struct bytes key);

/* Bytes that are not UTF-8 become U+FFFD each, so that the result is JSON whatever comes in. */
void json_write_string(struct json_writer *w, const char *text);
void json_write_bytes(struct json_writer *w, struct bytes text);
/* Whether a string is written as it is, between quotes: it is ASCII with nothing to escape. */
bool json_is_plain(struct bytes text);
void json_write_u64(struct json_writer *w, uint64_t number);
void json_write_i64(struct json_writer *w, int64_t number);
/* The shortest digits that read back as the same number; null for what JSON cannot say (NaN, infinities). */
void json_write_double(struct json_writer *w, double number);
void json_write_bool(struct json_writer *w, bool truth);
void json_write_null(struct json_writer *w);
/* A value that is JSON already. */
void json_write_raw(struct json_writer *w, struct bytes valid);

/* A key and its value at once. */
void json_write_member_string(struct json_writer *w, const char *key, const char *text);
void json_write_member_bytes(struct json_writer *w, const char *key, struct bytes text);
void json_write_member_u64(struct json_writer *w, const char *key, uint64_t number);
void json_write_member_i64(struct json_writer *w, const char *key, int64_t number);
void json_write_member_bool(struct json_writer *w, const char *key, bool truth);
void json_write_member_raw(struct json_writer *w, const char *key, struct bytes valid);
