/* The progress line: a bar, the share, the rate and the time that is left. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "os/clock.h"
#include "progress.h"

enum { DRAW_INTERVAL_MS = 100, QUIET_MS = 1000, BAR_WIDTH = 24 };

const char *progress_number(uint64_t number, char text[32])
{
    char digits[24];
    int size = snprintf(digits, sizeof digits, "%" PRIu64, number);
    int out = 0;

    for (int i = 0; i < size; i++) {
        if (i > 0 && (size - i) % 3 == 0)
            text[out++] = ',';
        text[out++] = digits[i];
    }
    text[out] = '\0';
    return text;
}

void progress_begin(struct progress *progress, const char *unit, uint64_t first, uint64_t total)
{
    *progress = (struct progress){.unit = unit, .first = first, .total = total, .began_ms = os_monotonic_ms()};
    progress->terminal = isatty(STDERR_FILENO) == 1;
}

static void draw(const struct progress *progress, uint64_t done, uint64_t elapsed_ms)
{
    char done_text[32], total_text[32], rate_text[32];
    char bar[BAR_WIDTH + 1];
    uint64_t rate = elapsed_ms ? (done - progress->first) * 1000 / elapsed_ms : 0;

    if (progress->total == 0) {
        fprintf(stderr, "\r\033[K%s %s, %s/s", progress_number(done, done_text), progress->unit,
                progress_number(rate, rate_text));
        return;
    }
    size_t filled = (size_t)(done >= progress->total ? BAR_WIDTH : done * BAR_WIDTH / progress->total);
    memset(bar, '-', BAR_WIDTH);
    memset(bar, '#', filled);
    bar[BAR_WIDTH] = '\0';
    uint64_t left_s = rate && progress->total > done ? (progress->total - done) / rate : 0;
    fprintf(stderr, "\r\033[K[%s] %3" PRIu64 " %%  %s of %s %s  %s/s  %02" PRIu64 ":%02" PRIu64 " left", bar,
            done * 100 / progress->total, progress_number(done, done_text),
            progress_number(progress->total, total_text), progress->unit, progress_number(rate, rate_text),
            left_s / 60, left_s % 60);
}

void progress_set(struct progress *progress, uint64_t done)
{
    uint64_t now = os_monotonic_ms();

    if (!progress->terminal || now - progress->began_ms < QUIET_MS ||
        now - progress->drawn_ms < DRAW_INTERVAL_MS)
        return;
    progress->drawn_ms = now;
    progress->visible = true;
    draw(progress, done, now - progress->began_ms);
}

void progress_end(struct progress *progress)
{
    if (progress->visible)
        fprintf(stderr, "\r\033[K");
    progress->visible = false;
}
