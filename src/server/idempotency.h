#pragma once

/* idempotency: Idempotency-Key on plain appends, in the scope of route and caller. */

#include "server/internal.h"

enum { IDEMPOTENCY_E_REPLAYED = JOURNAL_E_REFUSED, IDEMPOTENCY_E_REUSED };

/* {0}: the request has no key. */
struct idempotency {
    char scope[320]; /* "route LF caller LF key" */
    uint8_t hash[16];
};

/* What the header says; the hash is of the body, and of the stream that the path names. False: answered. */
bool idempotency_take(struct http_request *request, const char *route, struct bytes stream,
                      struct idempotency *ret_idempotency);
/* Put it into the request's append number `index`; nothing when there is no key. False: no memory. */
bool idempotency_mark(struct http_request *request, const struct idempotency *idempotency, size_t index,
                      struct journal_append *append);
/* In prepare(): 0 when the key is new; IDEMPOTENCY_E_REPLAYED with the positions; IDEMPOTENCY_E_REUSED; -errno. */
_must_check_ int idempotency_find(const struct journal_append *append, struct journal_turn *turn,
                                  uint64_t *ret_first, uint64_t *ret_last);
struct http_problem idempotency_problem(void);
/* Each event of a stream from `first` to `last`, in order: what the first answer said. On a worker. 0 or -errno. */
_must_check_ int idempotency_versions(struct server *server, uint64_t first, uint64_t last,
                                      int (*each)(void *user, struct bytes stream, uint64_t version), void *user);
