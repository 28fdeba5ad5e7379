#include "server/times.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "server/internal.h"

static const uint64_t bounds_us[TIMES_BOUND_COUNT] = {250,   500,   1000,   2500,   5000,    10000,   25000,
                                                      50000, 100000, 250000, 500000, 1000000, 2500000, 10000000};

static const char *const class_names[TIMES_CLASS_COUNT] = {"page", "append", "read",  "command",
                                                           "view", "group",  "probe", "other"};
enum { CLASS_PAGE, CLASS_APPEND, CLASS_READ, CLASS_COMMAND, CLASS_VIEW, CLASS_GROUP, CLASS_PROBE, CLASS_OTHER };

/* The first that begins so; NULL: any method. */
static const struct {
    const char *method, *path;
    uint8_t class;
} classes[] = {
    {"POST", "/v1/events", CLASS_READ}, {"POST", "/v1/append", CLASS_APPEND}, {"POST", "/v1/streams/{stream}", CLASS_APPEND},
    {"POST", "/dcb/append", CLASS_APPEND}, {"GET", "/v1/events", CLASS_READ}, {"GET", "/v1/streams/{stream}", CLASS_READ},
    {"GET", "/dcb/read", CLASS_READ}, {NULL, "/v1/commands", CLASS_COMMAND}, {NULL, "/v1/views", CLASS_VIEW},
    {NULL, "/v1/queries", CLASS_VIEW}, {NULL, "/v1/groups", CLASS_GROUP}, {NULL, "/health", CLASS_PROBE},
    {NULL, "/ready", CLASS_PROBE}, {NULL, "/metrics", CLASS_PROBE}, {NULL, "/openapi.json", CLASS_PROBE},
};

static uint8_t class_find(const struct http_route *route)
{
    for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++) {
        if ((!classes[i].method || strcmp(classes[i].method, route->method) == 0) &&
            strncmp(classes[i].path, route->path, strlen(classes[i].path)) == 0)
            return classes[i].class;
    }
    return CLASS_OTHER;
}

static uint8_t class_of(struct times *times, const struct http_route *route)
{
    size_t count, index = route ? (size_t)(route - server_routes(&count)) : 0;

    if (!route)
        return CLASS_PAGE;
    if (index >= TIMES_ROUTE_COUNT_MAX)
        return class_find(route);
    if (times->classes[index] == 0)
        times->classes[index] = class_find(route);
    return times->classes[index];
}

void times_count(struct times *times, const struct http_route *route, unsigned status, uint64_t us)
{
    uint8_t class = class_of(times, route);
    size_t hundreds = status / 100 < TIMES_STATUS_COUNT ? status / 100 : 0, bound = 0;

    while (bound < TIMES_BOUND_COUNT && us > bounds_us[bound])
        bound++;
    times->of[class][hundreds].counts[bound]++;
    times->of[class][hundreds].us += us;
}

static int write_one(const struct times *times, size_t class, size_t hundreds, struct buffer *out)
{
    uint64_t count = 0;
    int r = 0;

    for (size_t i = 0; i <= TIMES_BOUND_COUNT && r == 0; i++) {
        char bound[32] = "+Inf";
        count += times->of[class][hundreds].counts[i];
        if (i < TIMES_BOUND_COUNT)
            (void)snprintf(bound, sizeof(bound), "%g", (double)bounds_us[i] / 1e6);
        r = buffer_printf(out, "daybook_http_request_seconds_bucket{route=\"%s\",status=\"%zuxx\",le=\"%s\"} %" PRIu64 "\n",
                          class_names[class], hundreds, bound, count);
    }
    return r < 0 ? r
                 : buffer_printf(out,
                                 "daybook_http_request_seconds_count{route=\"%s\",status=\"%zuxx\"} %" PRIu64
                                 "\ndaybook_http_request_seconds_sum{route=\"%s\",status=\"%zuxx\"} %.6f\n",
                                 class_names[class], hundreds, count, class_names[class], hundreds,
                                 (double)times->of[class][hundreds].us / 1e6);
}

static bool is_empty(const struct times *times, size_t class, size_t hundreds)
{
    for (size_t i = 0; i <= TIMES_BOUND_COUNT; i++)
        if (times->of[class][hundreds].counts[i] > 0)
            return false;
    return true;
}

int times_write(const struct times *times, struct buffer *out)
{
    int r = metric_family(out, "http_request_seconds", "histogram", "until the answer begins to be sent");

    for (size_t class = 0; class < TIMES_CLASS_COUNT && r == 0; class++)
        for (size_t hundreds = 0; hundreds < TIMES_STATUS_COUNT && r == 0; hundreds++)
            if (!is_empty(times, class, hundreds))
                r = write_one(times, class, hundreds, out);
    return r;
}
