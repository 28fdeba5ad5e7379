#include "os/event.h"

#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

int os_event_open(int *ret_event)
{
    int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    if (event < 0)
        return error_from_errno();
    *ret_event = event;
    return 0;
}

void os_event_close(int event)
{
    if (event >= 0)
        (void)close(event);
}

/* It can fail only when the counter is full, and then the event is raised. */
void os_event_raise(int event)
{
    const uint64_t one = 1;
    int saved = errno;
    ssize_t written = write(event, &one, sizeof(one));

    (void)written;
    errno = saved;
}

/* It can fail only when there is nothing to lower. */
void os_event_clear(int event)
{
    uint64_t count;
    ssize_t read_size = read(event, &count, sizeof(count));

    (void)read_size;
}
