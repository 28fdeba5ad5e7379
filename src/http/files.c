/* Files of one folder, read-only: the pages of an application.
 *
 * The path is decoded segment by segment; a segment that is empty, begins with a dot or holds a slash or NUL names nothing,
 * so that no request leads out of the folder or to a hidden file. */

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "http/internal.h"
#include "http/query.h"

/* Scripts, styles and data come from here and nowhere else, and nobody may frame the page. */
static const char content_security_policy[] =
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'";

static const struct {
    const char *ending, *type;
} file_types[] = {
    {".html", "text/html; charset=utf-8"},
    {".css", "text/css; charset=utf-8"},
    {".js", "text/javascript; charset=utf-8"},
    {".mjs", "text/javascript; charset=utf-8"},
    {".json", "application/json"},
    {".svg", "image/svg+xml"},
    {".png", "image/png"},
    {".jpg", "image/jpeg"},
    {".webp", "image/webp"},
    {".ico", "image/x-icon"},
    {".woff2", "font/woff2"},
    {".txt", "text/plain; charset=utf-8"},
    {".md", "text/markdown; charset=utf-8"},
    {".webmanifest", "application/manifest+json"},
};

static const char *file_type(const char *name)
{
    size_t size = strlen(name);

    for (size_t i = 0; i < sizeof(file_types) / sizeof(file_types[0]); i++) {
        size_t ending = strlen(file_types[i].ending);
        if (size >= ending && strcmp(name + size - ending, file_types[i].ending) == 0)
            return file_types[i].type;
    }
    return "application/octet-stream";
}

/* Appends one decoded segment, or says that it cannot name a file. */
static bool segment_add(struct buffer *name, struct bytes segment)
{
    uint8_t *to;
    size_t size;

    if (segment.size == 0 || buffer_append_byte(name, '/') < 0 || buffer_extend(name, segment.size, &to) < 0)
        return false;
    if (http_percent_decode(segment, false, to, &size) != 0 || size == 0 || to[0] == '.' ||
        memchr(to, '/', size) || memchr(to, '\0', size))
        return false;
    name->size -= segment.size - size;
    return true;
}

/* The file a path names, below the folder; a path that ends in a slash names its index.html. */
static bool file_name(const char *folder, struct bytes path, struct buffer *name)
{
    bool is_folder = path.size > 0 && path.data[path.size - 1] == '/';

    if (path.size == 0 || path.data[0] != '/' || buffer_append_string(name, folder) < 0)
        return false;
    path = bytes_slice(path, 1, path.size - 1 - (is_folder && path.size > 1));
    while (path.size > 0) {
        const uint8_t *slash = memchr(path.data, '/', path.size);
        size_t size = slash ? (size_t)(slash - path.data) : path.size;
        if (!segment_add(name, bytes_slice(path, 0, size)))
            return false;
        path = bytes_slice(path, size + (slash != NULL), SIZE_MAX);
    }
    return !is_folder || buffer_append_string(name, "/index.html") == 0;
}

static void answer_file(struct http_request *request, const char *name, int fd, const struct stat *about)
{
    char etag[64];

    snprintf(etag, sizeof(etag), "%" PRIx64 "-%" PRIx64, (uint64_t)about->st_size,
             (uint64_t)about->st_mtim.tv_sec * 1000000000 + (uint64_t)about->st_mtim.tv_nsec);
    http_header(request, "Cache-Control", "no-cache");
    http_header(request, "Content-Security-Policy", content_security_policy);
    http_header(request, "Referrer-Policy", "no-referrer");
    if (http_answer_not_modified(request, etag)) {
        close(fd);
        return;
    }
    http_answer_file(request, 200, file_type(name), fd, (uint64_t)about->st_size);
}

void files_answer(struct http_request *request)
{
    struct buffer name = {0};
    struct stat about;
    int fd = -1;

    if (strcmp(request->method, "GET") != 0 && !http_request_is_head(request)) {
        http_answer_error(request, 404, "not-found", "There is nothing at this path that takes %s.",
                          request->method);
        return;
    }
    if (file_name(request->http->options.folder, request->path, &name) && buffer_string(&name))
        fd = open(buffer_string(&name), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd >= 0 && fstat(fd, &about) == 0 && S_ISREG(about.st_mode)) {
        answer_file(request, buffer_string(&name), fd, &about);
    } else {
        if (fd >= 0)
            close(fd);
        http_answer_error(request, 404, "not-found", "There is nothing at this path.");
    }
    buffer_deinit(&name);
}
