/* The handlers count, and write to an eventfd, which is readable ever after. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "os/clock.h"
#include "stop.h"

static volatile sig_atomic_t count, guarded;
static int fd = -1;

static void on_signal(int number)
{
    int before = errno;
    uint64_t one = 1;

    if (count >= 2) {
        signal(number, SIG_DFL);
        raise(number); /* delivered when this handler is left */
        return;
    }
    count++;
    if (count == 2 && guarded > 0)
        kill(-(pid_t)guarded, SIGKILL);
    (void)!write(fd, &one, sizeof one); /* it fails only when there is much to read already */
    errno = before;
}

int stop_catch(void)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART}, before;

    fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0)
        return -errno;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (sigaction(numbers[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
            sigaction(numbers[i], &action, NULL);
    return 0;
}

bool stop_asked(void)
{
    return count > 0;
}

bool stop_hurried(void)
{
    return count > 1;
}

int stop_fd(void)
{
    return fd;
}

void stop_wait_ms(unsigned ms)
{
    struct pollfd pipe = {.fd = stop_asked() ? -1 : fd, .events = POLLIN}; /* once asked it is readable for ever */
    uint64_t until_ms = os_monotonic_ms() + ms, now_ms;
    int before = count;

    while (count == before && (now_ms = os_monotonic_ms()) < until_ms)
        (void)poll(&pipe, 1, (int)(until_ms - now_ms)); /* a descriptor below zero is passed over */
}

void stop_guard(pid_t group)
{
    guarded = group;
}
