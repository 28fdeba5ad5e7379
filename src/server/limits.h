#pragma once

/* The limits of the server itself; those of HTTP are in http/limits.h, those of a journal's contents in
 * journal/journal.h. Same form: one table that feeds the code, `--limit`, --help and the reference. */

#include <stdint.h>

#include "http/limits.h"

/* X(name, default, unit, sentence) */
#define SERVER_LIMITS(X)                                                                                     \
    X(subscription_count_max, 2048, "subscriptions", "open at once; one more is answered 429")               \
    X(subscription_buffer_size_max, 8388608, "bytes",                                                        \
      "of encoded events kept for live subscribers, for all together")                                       \
    X(follower_count_max, 16, "followers", "connected at once; one more is answered 429")                    \
    X(group_count_max, 256, "groups", "of consumers; one more is answered 409")                              \
    X(group_waiting_count_max, 1024, "fetches", "under way or waiting at once; one more is answered 429")    \
    X(group_wait_seconds_max, 30, "s", "a fetch may wait for events")                                        \
    X(group_ack_delay_ms, 200, "ms",                                                                         \
      "acknowledgements are gathered before they are written as one event; at most 600000")                  \
    X(heartbeat_ms, 10000, "ms", "of silence after which a subscription gets a comment; at most 15000")      \
    X(checkpoint_count, 1000, "positions", "a filtered subscription passes over before it is told so")       \
    X(page_size_max, 4194304, "bytes", "of events in one page, which then ends early and says so")           \
    X(page_cache_size_max, 8388608, "bytes", "of small pages kept for who asks the same again; 0 keeps none") \
    X(stream_piece_size_max, 262144, "bytes", "read ahead for one client of a stream of events")

#define SERVER_LIMIT_FIELD(name, value, unit, sentence) uint64_t name;
struct server_limits {
    SERVER_LIMITS(SERVER_LIMIT_FIELD)
};
#undef SERVER_LIMIT_FIELD

extern const struct limit_row server_limit_rows[];
extern const size_t server_limit_row_count;
