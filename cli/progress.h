/* progress: one line on a terminal that says how far a long piece of work is.
 *
 * Appears only when standard error is a terminal and the work has lasted a second; redrawn ten times a second at most.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct progress {
    const char *unit; /* "commands", "events", "bytes" */
    uint64_t total;   /* 0: not known */
    uint64_t first;   /* where a resumed piece of work began, so that the rate is honest */
    uint64_t began_ms, drawn_ms;
    bool terminal, visible;
};

void progress_begin(struct progress *progress, const char *unit, uint64_t first, uint64_t total);
void progress_set(struct progress *progress, uint64_t done);
/* Take the line away, so that what is printed next stands alone. */
void progress_end(struct progress *progress);
/* 1234567 as "1,234,567". */
const char *progress_number(uint64_t number, char text[32]);
