#include "http/router.h"

#include <assert.h>
#include <stdio.h>

#include "http/query.h"

/* The part of *path up to the next slash; *path moves behind it. */
static struct bytes next_segment(struct bytes *path)
{
    const uint8_t *slash = path->size > 0 ? memchr(path->data, '/', path->size) : NULL;
    size_t size = slash ? (size_t)(slash - path->data) : path->size;
    struct bytes segment = bytes_slice(*path, 0, size);

    *path = bytes_slice(*path, slash ? size + 1 : size, SIZE_MAX);
    return segment;
}

static bool is_param(struct bytes segment)
{
    return segment.size > 2 && segment.data[0] == '{' && segment.data[segment.size - 1] == '}';
}

/* How many slashes: patterns and paths of different depth cannot fit. */
static size_t depth(struct bytes path)
{
    size_t count = 0;

    for (size_t i = 0; i < path.size; i++)
        count += path.data[i] == '/';
    return count;
}

/* Whether the path begins as the pattern does before its first parameter: what most patterns of a table fail at once. The
 * pattern ends in NUL and the path is counted: a NUL in the path is no end of it. */
static bool begins_alike(const char *pattern, struct bytes path)
{
    size_t at = 0;

    while (at < path.size && pattern[at] == (char)path.data[at] && pattern[at] != '{' && pattern[at] != '\0')
        at++;
    return pattern[at] == '{' || (pattern[at] == '\0' && at == path.size);
}

/* 0 with the parameters filled in, HTTP_E_NOT_FOUND or HTTP_E_PATH. */
static int pattern_fit(struct bytes pattern, struct bytes path, uint8_t *memory, struct http_match *match)
{
    if (depth(pattern) != depth(path))
        return HTTP_E_NOT_FOUND;
    match->param_count = 0;
    while (pattern.size > 0 || path.size > 0) {
        struct bytes want = next_segment(&pattern), have = next_segment(&path);
        if (!is_param(want)) {
            if (!bytes_equal(want, have))
                return HTTP_E_NOT_FOUND;
            continue;
        }
        size_t size;
        if (have.size == 0)
            return HTTP_E_NOT_FOUND;
        if (http_percent_decode(have, false, memory, &size) != 0)
            return HTTP_E_PATH;
        assert(match->param_count < HTTP_PARAM_COUNT_MAX); /* patterns are the program's own */
        match->params[match->param_count++] = bytes_make(memory, size);
        memory += size;
    }
    return 0;
}

static bool method_fits(const struct http_route *route, const char *method)
{
    return strcmp(route->method, method) == 0 ||
           (strcmp(method, "HEAD") == 0 && strcmp(route->method, "GET") == 0);
}

/* Adds a method to an Allow field, once. */
static void allow_add(char allow[HTTP_ALLOW_SIZE_MAX], const char *method)
{
    size_t size = strlen(allow);

    if (strstr(allow, method))
        return;
    snprintf(allow + size, HTTP_ALLOW_SIZE_MAX - size, "%s%s%s", size ? ", " : "", method,
             strcmp(method, "GET") == 0 ? ", HEAD" : "");
}

int http_route_find(const struct http_route *routes, size_t count, const char *method, struct bytes path,
                    uint8_t *memory, struct http_match *ret_match, char ret_allow[HTTP_ALLOW_SIZE_MAX])
{
    char allow[HTTP_ALLOW_SIZE_MAX] = "";

    for (size_t i = 0; i < count; i++) {
        if (!begins_alike(routes[i].path, path))
            continue;
        struct http_match match = {.route = &routes[i]};
        int r = pattern_fit(bytes_from_string(routes[i].path), path, memory, &match);
        if (r == HTTP_E_PATH)
            return r;
        if (r != 0)
            continue;
        if (method_fits(&routes[i], method)) {
            *ret_match = match;
            return 0;
        }
        allow_add(allow, routes[i].method);
    }
    if (allow[0] == '\0')
        return HTTP_E_NOT_FOUND;
    allow_add(allow, "OPTIONS");
    memcpy(ret_allow, allow, sizeof(allow));
    return HTTP_E_METHOD;
}
