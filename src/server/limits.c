#include "server/limits.h"

#include <string.h>

#include "server/server.h"

#define SERVER_LIMIT_ROW(name, value, unit, sentence) LIMIT_ROW(server_limits, name, value, unit, sentence),
const struct limit_row server_limit_rows[] = {SERVER_LIMITS(SERVER_LIMIT_ROW)};
#undef SERVER_LIMIT_ROW
const size_t server_limit_row_count = sizeof(server_limit_rows) / sizeof(server_limit_rows[0]);

void server_options_init(struct server_options *options)
{
    *options = (struct server_options){.data_folder = "data", .address = "127.0.0.1", .port = 7070, .scrub_rate = SERVER_SCRUB_RATE_DEFAULT};
    limits_init(http_limit_rows, http_limit_row_count, &options->http_limits);
    limits_init(server_limit_rows, server_limit_row_count, &options->limits);
}

static const struct limit_row *row_find(const struct limit_row *rows, size_t count, const char *name, size_t size)
{
    for (size_t i = 0; i < count; i++)
        if (strlen(rows[i].name) == size && memcmp(rows[i].name, name, size) == 0)
            return &rows[i];
    return NULL;
}

/* Its bit in options->limits_set; both tables together have fewer than 64 rows. */
static uint64_t row_bit(const char *name, size_t size)
{
    const struct limit_row *row = row_find(http_limit_rows, http_limit_row_count, name, size);

    if (row)
        return UINT64_C(1) << (row - http_limit_rows);
    row = row_find(server_limit_rows, server_limit_row_count, name, size);
    return row ? UINT64_C(1) << (http_limit_row_count + (size_t)(row - server_limit_rows)) : 0;
}

int server_limit_set(struct server_options *options, const char *name, size_t name_size, uint64_t value)
{
    int r = limits_set(http_limit_rows, http_limit_row_count, &options->http_limits, name, name_size, value);

    if (r != 0)
        r = limits_set(server_limit_rows, server_limit_row_count, &options->limits, name, name_size, value);
    if (r == 0)
        options->limits_set |= row_bit(name, name_size);
    return r;
}

void server_limit_lower(struct server_options *options, const char *name, uint64_t value)
{
    size_t size = strlen(name);
    const struct limit_row *row;

    if (options->limits_set & row_bit(name, size))
        return;
    row = row_find(http_limit_rows, http_limit_row_count, name, size);
    if (row && limits_get(row, &options->http_limits) > value)
        (void)limits_set(row, 1, &options->http_limits, name, size, value);
    row = row_find(server_limit_rows, server_limit_row_count, name, size);
    if (row && limits_get(row, &options->limits) > value)
        (void)limits_set(row, 1, &options->limits, name, size, value);
}

void server_limit_each(void (*each)(void *user, const struct limit_row *row), void *user)
{
    for (size_t i = 0; i < http_limit_row_count; i++)
        each(user, &http_limit_rows[i]);
    for (size_t i = 0; i < server_limit_row_count; i++)
        each(user, &server_limit_rows[i]);
}
