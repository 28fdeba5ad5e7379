#pragma once

/* What feed.c (all subscribers) and subscriber.c (one of them) share.
 *
 * A subscriber is a cursor and a filter; it has no queue. What is new is read and encoded once for all, into the row. A
 * subscriber whose cursor lies within the row walks along it; one that is behind it (it has just come, or its client is
 * slow) reads from the journal, on a worker, piece by piece, until it has reached the row. Its connection asks for more
 * only when the client has taken what it was given.
 *
 * Invariant:
 * F2 a subscriber's cursor only grows; every matching event up to it was handed to the connection, none after it. */

#include "server/crowd.h"
#include "server/errand.h"
#include "server/row.h"

enum { OWN_FRAME_SIZE_MAX = 256 };

struct feed {
    struct crowd crowd;
    struct server *server;
    struct row row;
    atomic_uint_fast64_t delivered;
    _Atomic bool stale; /* the row is to be cleared: it may hold what was erased */
};

/* A reading of the journal behind the row, and what of it is still to be sent; its errand's while that is out. Most
 * subscribers have none. */
struct catch_up {
    struct journal_reader *reader;
    struct buffer piece;
    size_t offset;
    size_t held; /* counted for piece and reader (http_memory_take) */
    uint64_t end; /* every position up to it is in the piece or was passed over */
    uint64_t told;
    int failure;
};

struct subscriber {
    struct errand errand;
    struct crowd_member member;
    struct feed *feed;
    struct filter filter;
    uint64_t cursor;
    uint64_t told; /* position of the last id sent */
    bool named;
    bool announced; /* daybook.caught-up was sent */
    bool waiting;
    bool beat; /* a sign of life is due */
    unsigned withdrawn; /* its client is not let in any more: the status a new request would get; 0: it is */
    bool ending;        /* the last frame has been said */
    /* being sent, in this order */
    struct bytes greeting;
    struct frame *frame;
    struct bytes parts[2];
    struct buffer own; /* the server's own frame */
    struct catch_up *behind;
};

/* Takes the filter. NULL: no memory, and the filter is still the caller's. */
struct subscriber *subscriber_new(struct feed *feed, struct http_request *request, struct filter *filter,
                                  uint64_t after, bool named);
/* The first thing a client of another journal hears. */
void subscriber_say_reset(struct subscriber *subscriber);
/* It waits for something that is there now: true when it has something to send, and is to be woken. */
bool subscriber_has_news(struct subscriber *subscriber);
/* The ways of the connection (struct http_source). */
ssize_t subscriber_read(void *user, uint8_t *buffer, size_t size);
void subscriber_withdraw(void *user, unsigned status);
void subscriber_release(void *user);
