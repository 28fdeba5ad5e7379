#include "server/crowd.h"

#include "os/clock.h"

enum { RETRY_AFTER_S = 5 };

uint64_t crowd_now_ms(void)
{
    return os_monotonic_ns() / OS_NS_PER_MS;
}

void crowd_call(struct crowd *crowd)
{
    if (!atomic_exchange(&crowd->called_posted, true))
        http_post(crowd->http, &crowd->called);
}

static void crowd_called(struct http_task *task)
{
    struct crowd *crowd = (struct crowd *)((char *)task - offsetof(struct crowd, called));

    atomic_store(&crowd->called_posted,
                 false); /* before the turn: what moves during it asks for another (C1) */
    crowd->turn(crowd);
}

/* On the writer's thread. */
static void crowd_moved(struct journal_listener *listener, uint64_t head)
{
    struct crowd *crowd = (struct crowd *)((char *)listener - offsetof(struct crowd, listener));

    if (crowd->open > 0)
        crowd_call(crowd);
}

static void crowd_wind(struct crowd *crowd)
{
    int r = crowd->beat ? http_timer_set(crowd->http, &crowd->timer, CROWD_BEAT_TICK_MS) : 0;

    (void)r; /* no memory: no signs of life until somebody joins again; who misses them connects anew */
}

static void crowd_tick(struct http_task *task)
{
    struct crowd *crowd = (struct crowd *)((char *)task - offsetof(struct crowd, timer.task));

    crowd->beat(crowd);
    if (crowd->members)
        crowd_wind(crowd);
}

void crowd_init(struct crowd *crowd, struct http *http, struct journal *journal)
{
    crowd->http = http;
    crowd->journal = journal;
    crowd->listener.moved = crowd_moved;
    crowd->called.run = crowd_called;
    crowd->timer.task.run = crowd_tick;
    journal_listen(journal, &crowd->listener);
}

void crowd_quiet(struct crowd *crowd)
{
    journal_unlisten(crowd->journal, &crowd->listener);
}

bool crowd_enter(struct crowd *crowd, struct http_request *request, uint64_t count_max, const char *code,
                 const char *sentence)
{
    if (atomic_fetch_add(&crowd->open, 1) < count_max)
        return true;
    crowd->open--;
    crowd->refused++;
    struct http_problem problem = {
        .status = 429, .code = code, .detail = sentence, .retry_after_s = RETRY_AFTER_S};
    http_answer_problem(request, &problem);
    return false;
}

void crowd_leave(struct crowd *crowd)
{
    crowd->open--;
}

void crowd_join(struct crowd *crowd, struct crowd_member *member)
{
    if (member->listed)
        return;
    if (!crowd->members)
        crowd_wind(crowd);
    member->crowd = crowd;
    member->previous = NULL;
    member->next = crowd->members;
    if (member->next)
        member->next->previous = member;
    crowd->members = member;
    member->listed = true;
    member->sent_ms = crowd_now_ms();
}

void crowd_part(struct crowd_member *member)
{
    struct crowd *crowd = member->crowd;

    if (!member->listed)
        return;
    if (member->previous)
        member->previous->next = member->next;
    else
        crowd->members = member->next;
    if (member->next)
        member->next->previous = member->previous;
    member->listed = false;
    if (!crowd->members)
        http_timer_cancel(crowd->http, &crowd->timer);
}

void crowd_headers(struct http_request *request)
{
    http_header(request, "Cache-Control", "no-store");
    http_header(request, "X-Accel-Buffering", "no");
}
