/* hotel: what the hotel's files share. */
#pragma once

#include <string.h>

#include <daybook/app.h>

/* The functions daybook hands us; set once, before anything else is called. */
extern const struct daybook_host *host;

/* Whether an event is of this type. */
static inline bool is(const struct daybook_event *event, const char *type)
{
    struct daybook_text text = host->event_type(event);
    return text.size == strlen(type) && memcmp(text.data, type, text.size) == 0;
}

/* The commands (commands.c). */
extern const struct daybook_command hotel_commands[];
extern const size_t hotel_command_count;
