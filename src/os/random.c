#include "os/random.h"

#include <string.h>
#include <sys/random.h>

#define POOL_SIZE 4096

/* Each thread has its own pool. What has been handed out is wiped, so that it is nowhere twice. A process that forks
 * must exec: the pool would be shared. */
static _Thread_local uint8_t pool[POOL_SIZE];
static _Thread_local size_t pool_left;

static int fill(void *data, size_t size)
{
    uint8_t *to = (uint8_t *)data;

    while (size > 0) {
        ssize_t got = getrandom(to, size, 0);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return error_from_errno();
        to += got;
        size -= (size_t)got;
    }
    return 0;
}

int os_random(void *data, size_t size)
{
    uint8_t *from;

    if (size > POOL_SIZE / 4)
        return fill(data, size);
    if (size > pool_left) {
        int r = fill(pool, POOL_SIZE);

        if (r < 0)
            return r;
        pool_left = POOL_SIZE;
    }
    from = pool + POOL_SIZE - pool_left;
    memcpy(data, from, size);
    explicit_bzero(from, size);
    pool_left -= size;
    return 0;
}

static int real_fill(const struct os_random *random, void *data, size_t size)
{
    return os_random(data, size);
}

const struct os_random *os_random_real(void)
{
    static const struct os_random random = {.fill = real_fill};

    return &random;
}
