#pragma once

/*
 * router: which route a method and a path belong to. A pattern's segments are compared one by one with the path as it
 * was sent, each decoded on its own, so that an encoded slash stays inside its segment. The first route that fits wins;
 * there are few enough that a walk over the table is as fast as anything.
 */

#include "base/bytes.h"
#include "http/http.h"

enum {
    HTTP_E_NOT_FOUND = 1, /* no pattern fits the path */
    HTTP_E_METHOD,        /* some fit, but none with this method: see ret_allow */
    HTTP_E_PATH,          /* the path has a broken escape, or is not UTF-8 */
};

enum { HTTP_ALLOW_SIZE_MAX = 128 };

struct http_match {
    const struct http_route *route;
    struct bytes params[HTTP_PARAM_COUNT_MAX]; /* in `memory` */
    size_t param_count;
};

/* Find the route. `memory` has room for path.size bytes. HEAD finds GET. On HTTP_E_METHOD `ret_allow` is the value of the
 * Allow field; `ret_match` is untouched unless 0. */
_must_check_ int http_route_find(const struct http_route *routes, size_t count, const char *method,
                                 struct bytes path, uint8_t *memory, struct http_match *ret_match,
                                 char ret_allow[HTTP_ALLOW_SIZE_MAX]);
