#pragma once

/* A flag that one thread raises and a loop over descriptors sees (eventfd): readable while it is raised. */

#include "base/error.h"

/* A new event, not raised. 0 or -errno. The descriptor is closed by os_event_close(). */
_must_check_ int os_event_open(int *ret_event);
void os_event_close(int event); /* a negative number is left alone */

/* From any thread, also from a signal handler. */
void os_event_raise(int event);

/* Lowers it. */
void os_event_clear(int event);
