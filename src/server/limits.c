#include "server/limits.h"

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

int server_limit_set(struct server_options *options, const char *name, size_t name_size, uint64_t value)
{
    if (limits_set(http_limit_rows, http_limit_row_count, &options->http_limits, name, name_size, value) == 0)
        return 0;
    return limits_set(server_limit_rows, server_limit_row_count, &options->limits, name, name_size, value);
}

void server_limit_each(void (*each)(void *user, const struct limit_row *row), void *user)
{
    for (size_t i = 0; i < http_limit_row_count; i++)
        each(user, &http_limit_rows[i]);
    for (size_t i = 0; i < server_limit_row_count; i++)
        each(user, &server_limit_rows[i]);
}
