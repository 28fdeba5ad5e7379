#pragma once

/* notifier: what the service manager that started the server is told (os/supervisor.h). */

#include "server/internal.h"

/* It serves; from here on the loop gives the signs of life that the manager asked for. On the loop's thread, before it runs. */
void notifier_ready(struct server *server);
/* It has been told to end, and drains. */
void notifier_stopping(void);
