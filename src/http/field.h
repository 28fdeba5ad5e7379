#pragma once

/* field: values of header fields that http itself decides by. */

#include <stddef.h>

#include "base/bytes.h"

enum { HTTP_HOST_SIZE_MAX = 256 };

enum {
    HTTP_E_HOST_INVALID = 1, /* missing, or not a host with an optional port: 400 */
    HTTP_E_HOST_UNKNOWN,     /* a name that is not ours: 421 */
};

/* May a request with this Host value be answered? localhost, any literal address and the known names may: a page of
 * another site can make a browser send its own name, never those (DNS rebinding). */
int http_host_check(const char *host, const char *const *known, size_t count);

/* Which of the types Accept prefers: see http_request_accepts(). */
int http_accept_choose(const char *accept, const char *const *types, size_t count);
