/* A file of its own: the simulator puts others in the place of threads, clocks and random bytes, file by file. */

#include "os/failure.h"

#include <errno.h>
#include <string.h>

const char *os_failure_text(int r)
{
    switch (r) {
    case -EAGAIN:
        return "no thread can be started: the address space (ulimit -v), the number of processes (ulimit -u) or the "
               "container's limit is too small; raise it";
    case -ENOMEM: return "no memory: the address space (ulimit -v) or the container's limit is too small; raise it";
    case -EMFILE: return "too many files are open: raise the limit (ulimit -n)";
    default: return strerrordesc_np(-r) ? strerrordesc_np(-r) : "it failed";
    }
}
