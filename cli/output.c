/* Standard output with a memory for what went wrong. stdio tells that a write failed, but not why: it may have been any of
 * many, long ago. So `stdout` becomes a stream whose writes pass through here (the GNU C library lets it be assigned). */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"
#include "output.h"

static int reason; /* errno of the first write that failed */

static ssize_t write_noted(void *cookie, const char *text, size_t size)
{
    size_t done = 0;

    while (done < size) {
        ssize_t written = write(STDOUT_FILENO, text + done, size - done);
        struct pollfd room = {.fd = STDOUT_FILENO, .events = POLLOUT};
        if (written < 0 && (errno == EINTR || (errno == EAGAIN && poll(&room, 1, -1) >= 0)))
            continue; /* somebody else made it non-blocking */
        if (written < 0) {
            reason = reason ? reason : errno;
            return done > 0 ? (ssize_t)done : 0; /* 0 is an error to stdio */
        }
        done += (size_t)written;
    }
    return (ssize_t)size;
}

static int close_noted(void *cookie)
{
    if (close(STDOUT_FILENO) < 0)
        reason = reason ? reason : errno;
    return reason ? -1 : 0;
}

/* The wrong way round, so that using it fails as if it were still closed. */
static void hold(int fd)
{
    if (fcntl(fd, F_GETFD) >= 0 || errno != EBADF)
        return;
    int opened = open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
    if (opened >= 0 && opened != fd)
        close(opened); /* cannot be: the lowest free one is given, and those below are taken */
}

void output_open(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        hold(fd);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is an error of write() */
    FILE *noted = fopencookie(NULL, "w", (cookie_io_functions_t){.write = write_noted, .close = close_noted});
    if (noted) {
        setvbuf(noted, NULL, isatty(STDOUT_FILENO) == 1 ? _IOLBF : _IOFBF, 0);
        stdout = noted;
    }
}

bool output_flush(void)
{
    return fflush(stdout) == 0 && !ferror(stdout);
}

bool output_lost(void)
{
    struct pollfd pipe = {.fd = STDOUT_FILENO};

    if (ferror(stdout))
        return true;
    if (poll(&pipe, 1, 0) <= 0 || !(pipe.revents & (POLLERR | POLLHUP)))
        return false;
    if (reason == 0)
        reason = EPIPE;
    return true;
}

int output_close(int code)
{
    bool whole = output_flush();

    whole = fclose(stdout) == 0 && whole && reason == 0;
    return whole ? code : cli_error(CLI_FAILED, "the output is lost, or not whole: %s", strerror(reason ? reason : EIO));
}

void output_text(struct bytes text)
{
    fwrite(text.data ? text.data : (const uint8_t *)"", 1, text.size, stdout);
    if (text.size == 0 || text.data[text.size - 1] != '\n')
        putchar('\n');
}

int output_file_close(FILE *file)
{
    struct stat status;
    bool failed = ferror(file);
    int error = 0;

    if (fflush(file) != 0)
        error = errno;
    if (error == 0 && fstat(fileno(file), &status) == 0 && S_ISREG(status.st_mode) && fsync(fileno(file)) < 0)
        error = errno;
    if (fclose(file) != 0 && error == 0)
        error = errno;
    return error ? -error : failed ? -EIO : 0;
}
