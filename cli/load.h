/* load: many HTTP/1.1 clients on one thread.
 *
 * What `daybook bench` measures with. One epoll loop, keep-alive connections, answers with a Content-Length. Latency is kept
 * in a histogram of 32 steps per power of two (3 % error).
 *
 * Closed: each client asks again when it has its answer; latency is from the first byte written to the last byte read.
 * Open (`rate`): requests fall due on a timetable whatever the server does. One that finds all clients busy waits here, and
 * its latency counts from when it was due: a server that stands still for a second is not asked fewer questions in it, and
 * the wait of those it would have been asked is in the figures (no coordinated omission).
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

enum { LOAD_CLIENT_COUNT_MAX = 4096, LOAD_BUCKET_COUNT = 64 * 40 };

struct load_options {
    const char *url; /* http://HOST:PORT or unix:PATH */
    unsigned client_count;
    uint64_t duration_ms;
    uint64_t warmup_ms; /* not counted */
    uint64_t rate;      /* requests a second, all clients together; 0: closed */
    /* Make request number `index` into `out`, head and body. Counted from 0 over all clients. */
    int (*request)(void *user, uint64_t index, struct buffer *out);
    void *user;
};

struct load_result {
    uint64_t requests; /* answered with 2xx, counted ones */
    uint64_t refused;  /* answered with anything else */
    uint64_t bytes;    /* bodies of the answers */
    uint64_t elapsed_ns;
    uint64_t missed;   /* open: were due and not asked when the time was over */
    uint64_t stall_ns; /* the longest this thread itself was kept from running: a measure of the machine */
    uint32_t histogram[LOAD_BUCKET_COUNT];
    char error[160];
};

/* 0, or -errno with result.error. */
int load_run(const struct load_options *options, struct load_result *ret_result);

/* The latency that `permille` of the requests did not exceed, in microseconds. */
double load_percentile_us(const struct load_result *result, unsigned permille);
