/* listen: what `serve --listen` takes, and a socket that a service manager has passed in its place. */
#pragma once

#include "server/server.h"

/* ADDRESS:PORT, NAME:PORT, [V6]:PORT, an address, a name or a port alone, or unix:PATH; NULL: 127.0.0.1:7070, or the socket that was
 * passed (os/supervisor.h). A name becomes an address here, one of IPv4 rather than others, and one that the Host field may
 * have. The texts live as long as the process. CLI_DONE, CLI_USAGE or CLI_FAILED, printed. */
int cli_read_listen(const char *text, struct server_options *options);
