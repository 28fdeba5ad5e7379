#pragma once

/* times: how long requests take, as a histogram by what was asked and by the hundreds of the answer's status. From the first
 * line of a request to the moment its answer begins to be sent; that of a subscription begins at once. Loop only. */

#include <stdint.h>

#include "base/bytes.h"
#include "http/http.h"

enum { TIMES_CLASS_COUNT = 8, TIMES_STATUS_COUNT = 6, TIMES_BOUND_COUNT = 14, TIMES_ROUTE_COUNT_MAX = 128 };

struct times {
    struct {
        uint64_t counts[TIMES_BOUND_COUNT + 1]; /* the last: longer than every bound */
        uint64_t us;
    } of[TIMES_CLASS_COUNT][TIMES_STATUS_COUNT];
    uint8_t classes[TIMES_ROUTE_COUNT_MAX]; /* of each route, in the order of server_routes(); 0: not looked up yet */
};

/* `route` NULL: a file, or nothing. */
void times_count(struct times *times, const struct http_route *route, unsigned status, uint64_t us);
/* A family of /metrics. */
_must_check_ int times_write(const struct times *times, struct buffer *out);
