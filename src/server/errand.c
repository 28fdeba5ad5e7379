#include "server/errand.h"

#include <assert.h>

enum { AGAIN_MS = 20 };

static void errand_return(struct http_task *task)
{
    struct errand *errand = (struct errand *)((char *)task - offsetof(struct errand, task));

    errand->out = false;
    errand->back(errand);
}

static void errand_work(struct http_task *task)
{
    struct errand *errand = (struct errand *)((char *)task - offsetof(struct errand, task));

    errand->run(errand);
    errand->task.run = errand_return;
    http_post(errand->http, &errand->task);
}

static void errand_try(struct errand *errand);

static void errand_again(struct http_task *task)
{
    errand_try((struct errand *)((char *)task - offsetof(struct errand, again.task)));
}

static void errand_try(struct errand *errand)
{
    errand->task.run = errand_work;
    if (http_work(errand->http, &errand->task) == 0)
        return;
    errand->again.task.run = errand_again;
    if (http_draining(errand->http) || http_timer_set(errand->http, &errand->again, AGAIN_MS) < 0)
        errand_work(&errand->task); /* no other way is left: here and now */
}

void errand_send(struct errand *errand)
{
    assert(!errand->out);
    errand->out = true;
    errand_try(errand);
}
