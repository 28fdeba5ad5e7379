#pragma once

/* listen: where the server is reached (server_options: an address and port, a socket in the file system, or one that was
 * passed). The place is told in server->url, as a client's --url takes it. */

#include "server/internal.h"

/* After http_new(). 0; SERVER_E_* or -errno, with a sentence in `ret_error` where there is one. */
int server_listen(struct server *server, char *ret_error);

/* Of a socket that was passed: its address as a text, empty for one in the file system, and its port. 0 or -errno. */
int server_socket_address(int fd, char ret_address[SERVER_ADDRESS_SIZE], uint16_t *ret_port);

/* Takes the socket out of the file system, if it is still ours. */
void server_unlisten(const struct server *server);
