/* Values of header fields (RFC 9110): media types, entity tags, Accept, Host. */

#include "http/field.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdlib.h>
#include <strings.h>

#include "http/http.h"

bool http_media_type_is(const char *field, const char *type)
{
    size_t size = strlen(type);

    if (!field || strncasecmp(field, type, size) != 0)
        return false;
    field += size;
    while (*field == ' ' || *field == '\t')
        field++;
    return *field == '\0' || *field == ';';
}

bool http_etag_listed(const char *field, const char *etag, bool weak)
{
    size_t size = strlen(etag);

    while (field && *field) {
        field += strspn(field, " \t,");
        bool is_weak = strncmp(field, "W/", 2) == 0;
        if (is_weak)
            field += 2;
        if (*field != '"') {
            field = strchr(field, ',');
            continue;
        }
        const char *end = strchr(field + 1, '"');
        if (!end)
            return false;
        if ((weak || !is_weak) && (size_t)(end - field - 1) == size && memcmp(field + 1, etag, size) == 0)
            return true;
        field = end + 1;
    }
    return false;
}

/* The quality a list element gives (its `q`), in thousandths. */
static int quality(struct bytes element)
{
    for (size_t i = 0; i + 2 < element.size; i++) {
        if (element.data[i] != ';')
            continue;
        size_t at = i + 1;
        while (at < element.size && (element.data[at] == ' ' || element.data[at] == '\t'))
            at++;
        if (at + 2 >= element.size || (element.data[at] | 0x20) != 'q' || element.data[at + 1] != '=')
            continue;
        char text[8] = "";
        size_t size = element.size - at - 2 < sizeof(text) - 1 ? element.size - at - 2 : sizeof(text) - 1;
        memcpy(text, element.data + at + 2, size);
        double q = strtod(text, NULL);
        return q < 0 ? 0 : q > 1 ? 1000 : (int)(q * 1000);
    }
    return 1000;
}

/* How closely a media range fits a type: 0 not at all, 1 any type, 2 any of its family, 3 itself. */
static int range_fit(struct bytes range, const char *type)
{
    const char *slash = strchr(type, '/');
    size_t family = (size_t)(slash - type) + 1;

    if (range.size == 3 && memcmp(range.data, "*/*", 3) == 0)
        return 1;
    if (range.size == family + 1 && strncasecmp((const char *)range.data, type, family) == 0 &&
        range.data[family] == '*')
        return 2;
    return range.size == strlen(type) && strncasecmp((const char *)range.data, type, range.size) == 0 ? 3 : 0;
}

/* The quality that Accept gives one type: that of its closest range (RFC 9110 §12.5.1). */
static int accept_quality(const char *accept, const char *type)
{
    int best_fit = 0, best_quality = 0;

    while (*accept) {
        accept += strspn(accept, " \t,");
        size_t size = strcspn(accept, ",");
        size_t range_size = strcspn(accept, "; \t,");
        int fit = range_fit(bytes_make(accept, range_size), type);
        if (fit > best_fit) {
            best_fit = fit;
            best_quality = quality(bytes_make(accept, size));
        }
        accept += size;
    }
    return best_quality;
}

int http_accept_choose(const char *accept, const char *const *types, size_t count)
{
    int best = -1, best_quality = 0;

    if (!accept || *accept == '\0')
        return 0;
    for (size_t i = 0; i < count; i++) {
        int q = accept_quality(accept, types[i]);
        if (q > best_quality) {
            best = (int)i;
            best_quality = q;
        }
    }
    return best;
}

/* Cuts the port off a Host value into `name`; false when it is no host at all. */
static bool host_name(const char *host, char name[HTTP_HOST_SIZE_MAX])
{
    size_t size;
    const char *rest;

    if (host[0] == '[') {
        const char *end = strchr(host, ']');
        if (!end)
            return false;
        size = (size_t)(end - host) - 1;
        host++;
        rest = end + 1;
    } else {
        size = strcspn(host, ":");
        rest = host + size;
    }
    if (size == 0 || size >= HTTP_HOST_SIZE_MAX)
        return false;
    if (*rest == ':') {
        size_t digits = strspn(rest + 1, "0123456789");
        if (digits > 5 || rest[1 + digits] != '\0')
            return false;
    } else if (*rest != '\0') {
        return false;
    }
    memcpy(name, host, size);
    name[size] = '\0';
    return true;
}

int http_host_check(const char *host, const char *const *known, size_t count)
{
    char name[HTTP_HOST_SIZE_MAX];
    uint8_t address[16];

    if (!host || !host_name(host, name))
        return HTTP_E_HOST_INVALID;
    if (strcasecmp(name, "localhost") == 0 || inet_pton(AF_INET, name, address) == 1 ||
        inet_pton(AF_INET6, name, address) == 1)
        return 0;
    for (size_t i = 0; i < count; i++) {
        if (strcasecmp(name, known[i]) == 0)
            return 0;
    }
    return HTTP_E_HOST_UNKNOWN;
}
