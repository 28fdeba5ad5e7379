/* The server and the service manager that started it: ready, stopping, alive. A sign of life comes from the loop that serves, at
 * half of the time the manager allows: a loop that hangs gives none. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "os/supervisor.h"
#include "server/notifier.h"

enum { US_PER_MS = 1000, LIFE_MS_MAX = 60000 };

static struct http_timer life_timer; /* there is one server in a process */
static struct http *life_http;
static uint32_t life_ms;

static void tell(const char *state)
{
    int r = os_supervisor_tell(state);

    if (r < 0)
        fprintf(stderr, "daybook serve: cannot tell the service manager %s: %s\n", state, strerror(-r));
}

static void give_life(struct http_task *task)
{
    int r = os_supervisor_tell("WATCHDOG=1");

    r = http_timer_set(life_http, &life_timer, life_ms);
    (void)r; /* no memory, or nobody hears: the manager will notice */
}

void notifier_ready(struct server *server)
{
    uint64_t ms = os_supervisor_watchdog_us() / 2 / US_PER_MS;

    tell("READY=1");
    if (ms == 0)
        return;
    life_http = server->http;
    life_ms = ms > LIFE_MS_MAX ? LIFE_MS_MAX : (uint32_t)ms;
    life_timer.task.run = give_life;
    give_life(&life_timer.task);
}

void notifier_stopping(void)
{
    tell("STOPPING=1");
}
