/* Requests that a page of another origin makes through its visitor's browser.
 *
 * A browser sends some requests to any server without asking it first: forms, and fetch() in the mode "no-cors", with the
 * visitor's address and so past a server that listens on loopback only. What it says about them itself, no page can change:
 *
 * O1 `Sec-Fetch-Site` (W3C Fetch Metadata) says where a request comes from: same-origin, or none (typed, or no page at all).
 *    same-site and cross-site are other origins.
 * O2 `Origin` (RFC 6454, Fetch) stands in every request with an unsafe method. Where O1 is missing, as in older browsers and
 *    on plain HTTP, or says none, its host and port must be those of Host. A Host without a port, as proxies pass it on, is compared by
 *    its name. "null" is never ours.
 * O3 No browser sends application/json to another origin without asking first (a preflight, which is answered without
 *    permission). Every route that takes JSON therefore asks for the type, also where no body is needed (request.c).
 *
 * Programs that are no browsers send none of the two fields, and are let through. GET, HEAD and OPTIONS are safe: they
 * change nothing (RFC 9110 §9.2.1), and what they answer the browser does not show to another origin. */

#include <string.h>
#include <strings.h>

#include "http/internal.h"

static bool method_is_safe(const char *method)
{
    return strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0 || strcmp(method, "OPTIONS") == 0;
}

/* The part of "host:port" before the port; "[::1]:7070" has its last colon behind the bracket. */
static size_t name_size(const char *authority)
{
    const char *colon = strrchr(authority, ':');

    return colon && !strchr(colon, ']') ? (size_t)(colon - authority) : strlen(authority);
}

/* O2 */
static bool origin_is_host(const char *origin, const char *host)
{
    const char *authority = strstr(origin, "://");
    size_t host_name = name_size(host);

    if (!authority || host[0] == '\0')
        return false;
    authority += 3;
    if (host[host_name] != '\0')
        return strcasecmp(authority, host) == 0;
    return name_size(authority) == host_name && strncasecmp(authority, host, host_name) == 0;
}

bool origin_is_foreign(const char *method, const char *site, const char *origin, const char *host)
{
    if (method_is_safe(method))
        return false;
    if (site && strcmp(site, "same-origin") == 0)
        return false; /* O1 */
    if (site && strcmp(site, "none") != 0)
        return true;
    return origin && !origin_is_host(origin, host ? host : "");
}
