#include <stdarg.h>
#include <stdio.h>

#include "base/checked.h"
#include "command/memory.h"

struct bytes memory_copy(struct arena *arena, struct bytes bytes)
{
    size_t size;
    uint8_t *copy = checked_add_size(bytes.size, 1, &size) ? arena_alloc(arena, size) : NULL;
    if (!copy)
        return (struct bytes){0};
    if (bytes.size > 0)
        memcpy(copy, bytes.data, bytes.size);
    copy[bytes.size] = '\0';
    return bytes_make(copy, bytes.size);
}

const char *memory_printf(struct arena *arena, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);

    struct bytes copy = memory_copy(arena, bytes_from_string(text));
    return copy.data ? (const char *)copy.data : "there is no memory left";
}
