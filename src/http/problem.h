#pragma once

/*
 * problem: errors as RFC 9457 application/problem+json: {type, title, status, detail, instance, code, violations[]}
 * and members of the problem's own.
 */

#include "base/bytes.h"

/* One thing wrong with the request: a JSON pointer (RFC 6901) into its body, or "?name" for a query parameter. */
struct http_violation {
    struct bytes pointer;
    struct bytes detail;
};

struct http_problem {
    unsigned status;
    const char *code;   /* "invalid": machines look at this; also the end of `type` */
    const char *title;  /* NULL: the status's own phrase */
    const char *detail; /* a sentence about this occurrence; NULL: none */
    const struct http_violation *violations;
    size_t violation_count;
    struct bytes members;   /* more members as JSON text without braces (`"actual":7`), or empty */
    unsigned retry_after_s; /* 0: no Retry-After */
};

/* The document into `out`. `prefix` begins the type, `instance` is the request's path. 0, -ENOMEM, -E2BIG. */
_must_check_ int http_problem_write(const struct http_problem *problem, const char *prefix,
                                    struct bytes instance, struct buffer *out);

/* "Not Found" and the like; "Error" for a status nobody knows. */
const char *http_status_phrase(unsigned status);
