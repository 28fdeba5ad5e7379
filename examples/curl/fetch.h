/* One HTTP GET with libcurl, told as a breaker wants to hear it.
 *
 * What is a failure: no connection, a broken answer, a status of 500 or above but 501 and 505 (they say the same tomorrow).
 * A timeout is one of its own kind. 429 is neutral: the service works and wants fewer calls. Every other status is a
 * service that answers. Slow is judged on the time to the first byte, not on how long a big answer takes to come.
 */
#pragma once

#include <curl/curl.h>

#include "breaker.h"

struct fetch {
    CURL *curl;
    const char *url;
    char *body; /* of the last attempt */
    size_t size;
    long status;
};

#define FETCH_SIZE_MAX (16 << 20)

/* A breaker_call: context is a struct fetch. */
void fetch_call(void *context, uint32_t attempt, uint64_t left_ns, struct breaker_result *ret_result);
