#pragma once

/* What a service manager hands to a process, and what it wants to hear: sockets, states, signs of life. The two protocols are
 * systemd's, stable and documented for those who do not link its library: sd_listen_fds(3) "Notes", sd_notify(3) "Standalone
 * Implementations", sd_watchdog_enabled(3). Without such a manager nothing here does anything.
 *
 * Environment: LISTEN_PID, LISTEN_FDS, NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID.
 */

#include <stdint.h>

#include "base/error.h"

/* The listening socket that was passed to this process, if it was one: close-on-exec, non-blocking, the caller's. Called once.
 * 0 with *ret_fd -1: none was passed. -E2BIG: more than one; -ENOTSOCK: no listening stream socket. */
_must_check_ int os_supervisor_socket(int *ret_fd);

/* Tell the manager, "READY=1" for example. 0: told, or there is nobody to tell. Async-signal-safe it is not. */
_must_check_ int os_supervisor_tell(const char *state);

/* Within how many microseconds it wants "WATCHDOG=1", again and again; 0: it does not. */
uint64_t os_supervisor_watchdog_us(void);
