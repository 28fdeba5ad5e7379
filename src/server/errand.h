#pragma once

/* errand: something that may wait for the disk, done on a worker for something that lives on the loop.
 *
 * errand_send() runs run() on a worker and then back() on the loop; one at a time. When the workers' queue is full it is
 * tried again a moment later. What it works on may end meanwhile: the owner then sees `out`, marks itself as abandoned,
 * and frees itself in back(). Loop only, but for run(). */

#include "http/http.h"

struct errand {
    struct http *http;
    void (*run)(struct errand *errand);  /* on a worker */
    void (*back)(struct errand *errand); /* on the loop */
    struct http_task task;
    struct http_timer again;
    bool out; /* between errand_send() and back() */
};

void errand_send(struct errand *errand);
