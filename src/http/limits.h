#pragma once

/*
 * Every limit of the HTTP layer, by name: one table that feeds the code (struct http_limits), `--limit NAME=VALUE`,
 * --help and the reference. A limit met is answered clearly, as its sentence says; each row has a test.
 */

#include <stddef.h>
#include <stdint.h>

/* X(name, default, unit, sentence) */
#define HTTP_LIMITS(X)                                                                                       \
    X(connection_count_max, 4096, "connections",                                                             \
      "open at once; one more takes the place of the one unused for longest, or is answered 503")            \
    X(header_size_max, 12288, "bytes", "request line and header fields together; more is 431")                \
    X(header_count_max, 100, "fields", "header fields of a request; more is 431")                            \
    X(target_size_max, 8192, "bytes", "path and query of a request; more is 414")                            \
    X(parameter_count_max, 64, "parameters", "of a query string; more is 400")                               \
    X(body_size_max, 8388608, "bytes", "body of a request, where its route allows no less; more is 413")     \
    X(bodies_size_max, 67108864, "bytes", "of bodies not yet whole, all together; one more is 503")          \
    X(answers_size_max, 134217728, "bytes", "of answers not yet sent, all together; one more is 503")        \
    X(discard_size_max, 33554432, "bytes", "of a refused body read on; then the connection is cut")          \
    X(header_ms_max, 10000, "ms", "from the first byte of a request to the end of its header; then 408")     \
    X(body_ms_max, 60000, "ms", "from the end of the header to the end of the body; then 408")               \
    X(idle_ms_max, 75000, "ms", "between two requests on a connection; then it is closed")                   \
    X(write_ms_max, 30000, "ms", "without progress while an answer is sent; then the connection is cut")     \
    X(drain_ms_max, 10000, "ms", "for requests under way when the server is told to stop")                   \
    X(worker_count, 3, "threads", "that run the handlers which may block")                                   \
    X(worker_queue_count_max, 1024, "requests", "waiting for a worker; one more is answered 503")

#define HTTP_LIMIT_FIELD(name, value, unit, sentence) uint64_t name;
struct http_limits {
    HTTP_LIMITS(HTTP_LIMIT_FIELD)
};
#undef HTTP_LIMIT_FIELD

/* A row of a table of limits, for whoever reads or prints it; other layers make rows of their own tables with it. */
struct limit_row {
    const char *name, *unit, *sentence;
    uint64_t value_default;
    size_t offset; /* of its uint64_t in the struct the table makes */
};

#define LIMIT_ROW(type, name, value, unit, sentence)                                                         \
    {                                                                                                        \
#name, unit, sentence, value, offsetof(struct type, name)                                            \
    }

extern const struct limit_row http_limit_rows[];
extern const size_t http_limit_row_count;

/* Every row's default into the struct the rows belong to. */
void limits_init(const struct limit_row *rows, size_t count, void *limits);

/* Sets one limit by name. LIMITS_E_UNKNOWN: no row has that name; nothing is changed. */
enum { LIMITS_E_UNKNOWN = 1 };
int limits_set(const struct limit_row *rows, size_t count, void *limits, const char *name, size_t name_size,
               uint64_t value);

/* The value a row has in the struct. */
uint64_t limits_get(const struct limit_row *row, const void *limits);
