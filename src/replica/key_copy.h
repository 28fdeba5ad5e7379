/* key_copy: keeps a follower's vault a copy of its leader's, so that it can open what it copies (docs/formats/keys.md, "Over
 * HTTP"). Fences do not come this way: they stand in the log.
 *
 * Life: key_copy_start() fetches all keys, then, when it is asked, those made since. A leader's key is durable before the
 * first record that is sealed with it can be seen, so whoever asks after seeing such a record gets the key. key_copy_stop().
 *
 * Threads: one of its own; the functions here may be called from any thread.
 *
 * What the leader refuses (the token is no operator's) is asked again now and then; what fails is asked again later each
 * time, through the breaker that guards the leader.
 */
#pragma once

#include "breaker.h"
#include "vault/vault.h"

#define KEY_COPY_MEDIA_TYPE "application/vnd.daybook.keys"

enum {
    KEY_COPY_COUNT_MAX = 4096,     /* keys of one answer */
    KEY_COPY_PAUSE_MS = 50,        /* between two fetches, at least */
    KEY_COPY_AGAIN_MS = 1000,      /* while a key is missed that the leader has not got either */
    KEY_COPY_REFUSED_MS = 5000,    /* after the leader refused */
    KEY_COPY_ANSWER_MS_MAX = 5000, /* for one answer */
    KEY_COPY_REASON_SIZE = 256,
};

struct key_copy_options {
    struct vault *vault;
    const char *url, *token;       /* the caller's; the token may be NULL */
    const struct breaker *breaker; /* the caller's */
};

struct key_copy;

int key_copy_start(const struct key_copy_options *options, struct key_copy **ret_keys); /* 0, -errno */
void key_copy_stop(struct key_copy *keys);                                              /* NULL is fine */
/* A key is missed: fetch what is new. Returns at once. */
void key_copy_ask(struct key_copy *keys);
/* Answers that were stored, and why keys do not come, or empty. */
void key_copy_status(struct key_copy *keys, uint64_t *ret_fetches, char ret_reason[KEY_COPY_REASON_SIZE]);
