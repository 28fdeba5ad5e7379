#pragma once

/* crowd: connections that stay open, of one kind, and what wakes them.
 *
 * Subscribers, followers and consumers that wait are alike in this: there may be so many and one more is told to come
 * back; each is a connection that gets something when the journal has moved, or when it has been silent for long. What
 * each of them sends is its owner's affair.
 *
 * Life: crowd_init() · crowd_enter() counts one in or refuses it · its member is listed when its connection first asks for
 * something (crowd_join) and taken out when that is over (crowd_part) · crowd_leave() counts it out when its memory goes,
 * which may be later, when a worker has come back from it · crowd_quiet() before the journal closes.
 *
 * Threads: all of it belongs to the loop, but for crowd_call(), which any thread may use, and the figures.
 *
 * Invariants:
 * C1 turn() runs after every move of the head that came while anybody was in, once for as many as came meanwhile.
 * C2 beat() runs every CROWD_BEAT_TICK_MS while anybody is listed. */

#include <stdatomic.h>

#include "http/http.h"
#include "journal/journal.h"

enum { CROWD_BEAT_TICK_MS = 500 };

struct crowd_member {
    struct crowd *crowd;
    struct http_request *request; /* NULL: gone, waiting for what is out */
    struct crowd_member *next, *previous;
    bool listed;
    uint64_t sent_ms; /* when its client was last sent something */
};

struct crowd {
    struct http *http;
    struct journal *journal;
    void (*turn)(struct crowd *crowd);
    void (*beat)(struct crowd *crowd); /* NULL: silence is fine */
    struct crowd_member *members;
    atomic_uint_fast64_t open, refused;
    /* crowd.c's own */
    struct journal_listener listener;
    struct http_task called;
    atomic_bool called_posted;
    struct http_timer timer;
};

/* Sets up everything but turn and beat, which are set already, and listens to the journal. */
void crowd_init(struct crowd *crowd, struct http *http, struct journal *journal);
/* Hear nothing more of the journal. */
void crowd_quiet(struct crowd *crowd);

/* Counts one in; false: there are `count_max`, and it has been answered 429 with this code and sentence. */
bool crowd_enter(struct crowd *crowd, struct http_request *request, uint64_t count_max, const char *code,
                 const char *sentence);
void crowd_leave(struct crowd *crowd);

/* Into the list, with a clock that begins now; once is enough. Out of it, if it is in. */
void crowd_join(struct crowd *crowd, struct crowd_member *member);
void crowd_part(struct crowd_member *member);

/* Let turn() run soon. */
void crowd_call(struct crowd *crowd);

uint64_t crowd_now_ms(void);

/* The headers of an answer that goes on and on. */
void crowd_headers(struct http_request *request);
