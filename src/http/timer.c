/* Timers of the loop: a binary heap by due time, its root in slot 1. */

#include "base/vector.h"
#include "http/internal.h"

static void heap_place(struct http *http, struct http_timer *timer, size_t slot)
{
    http->timers[slot] = timer;
    timer->slot = slot;
}

static void heap_up(struct http *http, struct http_timer *timer, size_t slot)
{
    while (slot > 1 && http->timers[slot / 2]->due_ms > timer->due_ms) {
        heap_place(http, http->timers[slot / 2], slot);
        slot /= 2;
    }
    heap_place(http, timer, slot);
}

static void heap_down(struct http *http, struct http_timer *timer, size_t slot)
{
    while (2 * slot <= http->timer_count) {
        size_t child = 2 * slot;
        if (child < http->timer_count && http->timers[child + 1]->due_ms < http->timers[child]->due_ms)
            child++;
        if (http->timers[child]->due_ms >= timer->due_ms)
            break;
        heap_place(http, http->timers[child], slot);
        slot = child;
    }
    heap_place(http, timer, slot);
}

int http_timer_set(struct http *http, struct http_timer *timer, uint32_t delay_ms)
{
    assert(http_on_loop(http));
    http_timer_cancel(http, timer);
    int r = vector_reserve(&http->timers, &http->timer_capacity, http->timer_count + 2);
    if (r < 0)
        return r;
    timer->due_ms = http_now_ms() + delay_ms;
    heap_up(http, timer, ++http->timer_count);
    return 0;
}

void http_timer_cancel(struct http *http, struct http_timer *timer)
{
    size_t slot = timer->slot;

    if (slot == 0)
        return;
    assert(http->timers[slot] == timer);
    timer->slot = 0;
    struct http_timer *last = http->timers[http->timer_count--];
    if (last == timer)
        return;
    if (slot > 1 && http->timers[slot / 2]->due_ms > last->due_ms)
        heap_up(http, last, slot);
    else
        heap_down(http, last, slot);
}

int timers_timeout_ms(const struct http *http, uint64_t now_ms)
{
    if (http->timer_count == 0)
        return -1;
    uint64_t due_ms = http->timers[1]->due_ms;
    return due_ms <= now_ms ? 0 : due_ms - now_ms > 60000 ? 60000 : (int)(due_ms - now_ms);
}

void timers_run(struct http *http, uint64_t now_ms)
{
    while (http->timer_count > 0 && http->timers[1]->due_ms <= now_ms) {
        struct http_timer *timer = http->timers[1];
        http_timer_cancel(http, timer);
        timer->task.run(&timer->task);
    }
}
