/* memory: what a command keeps in its arena, so that it all ends together: copies, values, tags, events, the
 * answer. */
#pragma once

#include "journal/arena.h"

/* A copy, with a NUL behind it that does not count; data is NULL when there is no memory. */
struct bytes memory_copy(struct arena *arena, struct bytes bytes);

/* A sentence of at most 511 bytes, never NULL: without memory it says so. */
_printf_(2, 3) const char *memory_printf(struct arena *arena, const char *format, ...);
