#include "http/limits.h"

#include <string.h>

#define HTTP_LIMIT_ROW(name, value, unit, sentence) LIMIT_ROW(http_limits, name, value, unit, sentence),
const struct limit_row http_limit_rows[] = {HTTP_LIMITS(HTTP_LIMIT_ROW)};
#undef HTTP_LIMIT_ROW
const size_t http_limit_row_count = sizeof(http_limit_rows) / sizeof(http_limit_rows[0]);

static uint64_t *limit_at(const struct limit_row *row, void *limits)
{
    return (uint64_t *)(void *)((char *)limits + row->offset);
}

void limits_init(const struct limit_row *rows, size_t count, void *limits)
{
    for (size_t i = 0; i < count; i++)
        *limit_at(&rows[i], limits) = rows[i].value_default;
}

int limits_set(const struct limit_row *rows, size_t count, void *limits, const char *name, size_t name_size,
               uint64_t value)
{
    for (size_t i = 0; i < count; i++) {
        if (strlen(rows[i].name) == name_size && memcmp(rows[i].name, name, name_size) == 0) {
            *limit_at(&rows[i], limits) = value;
            return 0;
        }
    }
    return LIMITS_E_UNKNOWN;
}

uint64_t limits_get(const struct limit_row *row, const void *limits)
{
    return *(const uint64_t *)(const void *)((const char *)limits + row->offset);
}
