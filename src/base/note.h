#pragma once

/*
 * Signed notes (c2sp.org/signed-note): a text and, below it, Ed25519 signatures of it by named keys. What is signed
 * is UTF-8 without control characters but newlines, and ends with one. docs/formats/checkpoint.md has the bytes.
 *
 * A note's text means nothing until note_open() has answered 0.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

enum {
    NOTE_NAME_SIZE_MAX = 128,     /* bytes of a key's name */
    NOTE_SIZE_MAX = 65536,        /* bytes of a note, signatures included */
    NOTE_SIGNATURE_COUNT_MAX = 64,
    NOTE_SEED_SIZE = 32,
    NOTE_PUBLIC_SIZE = 32,
};

/* Answers. */
enum {
    NOTE_E_INVALID = 1, /* not a note, or not a key */
    NOTE_E_UNSIGNED,    /* no signature of this key is on it */
    NOTE_E_FORGED,      /* one says that it is this key's, and is not */
};

struct note_key {
    char name[NOTE_NAME_SIZE_MAX + 1];
    uint8_t id[4];
    uint8_t public_key[NOTE_PUBLIC_SIZE];
    bool secret; /* it can sign: seed is there */
    uint8_t seed[NOTE_SEED_SIZE];
};

/* A key from a name and a secret seed that nobody can guess. NOTE_E_INVALID: the name has blanks, `+`, anything but
 * printable ASCII, or not 1 to NOTE_NAME_SIZE_MAX bytes. */
_must_check_ int note_key_make(const char *name, const uint8_t seed[NOTE_SEED_SIZE], struct note_key *ret_key);

/* A key from its line, public or private; white space behind it is ignored. NOTE_E_INVALID. */
_must_check_ int note_key_parse(struct bytes text, struct note_key *ret_key);

/* The key's line, without a newline. The private one only of a key that can sign. 0, -ENOMEM, -E2BIG. */
_must_check_ int note_key_write_public(const struct note_key *key, struct buffer *out);
_must_check_ int note_key_write_private(const struct note_key *key, struct buffer *out);

/* Forgets the seed. Right for _cleanup_. */
void note_key_deinit(struct note_key *key);

/* Appends the text, an empty line and one signature to `out`. The text must be one that can be signed (asserted: it is
 * made by the program). 0, -ENOMEM, -E2BIG. */
_must_check_ int note_sign(struct bytes text, const struct note_key *key, struct buffer *out);

/* Checks a note: 0 and its text, which lies in `note`, when a signature of `key` holds and none of it fails; else
 * NOTE_E_*, and *ret_reason (may be NULL) is the end of a sentence, static: "it has no empty line before its signatures". */
_must_check_ int note_open(struct bytes note, const struct note_key *key, struct bytes *ret_text,
                           const char **ret_reason);
