/* POST /v1/groups/{group}/fetch: a batch for a consumer, now or as soon as there is something.
 *
 * The group is asked on a worker. When it has nothing and the consumer would wait, the answer begins, so that it is seen
 * when the consumer leaves; its events follow. Of the consumers that wait for a group one is asked for when something has
 * changed, the one that waits longest; if it got something the next one is asked for, and so on until one gets nothing:
 * a change costs one look, not one for each who waits. When a lease ends first is known to whoever was asked last, and
 * when that one leaves another is asked. */

#include <stdlib.h>

#include "base/hash.h"
#include "os/clock.h"
#include "server/crowd.h"
#include "server/errand.h"
#include "server/group_body.h"

struct fetch {
    struct errand errand;
    struct crowd_member member;
    struct consumers *consumers;
    struct http_timer alarm;
    uint64_t group_hash; /* equal for equal names */
    uint64_t deadline_ns;
    struct group_batch batch; /* the errand's while it is out */
    int answer;               /* of the last look */
    bool streaming;           /* the answer has begun */
    bool again;               /* something changed while the errand was out */
    bool done;                /* the text is whole */
    struct buffer text;
    size_t offset;
    size_t held; /* counted for batch and text (http_memory_take) */
};

struct consumers {
    struct crowd crowd;
    struct server *server;
};

static struct fetch *fetch_of(struct crowd_member *member)
{
    return (struct fetch *)((char *)member - offsetof(struct fetch, member));
}

static void fetch_free(struct fetch *fetch)
{
    http_memory_set(fetch->errand.http, &fetch->held, 0);
    buffer_deinit(&fetch->text);
    buffer_deinit(&fetch->batch.out);
    free(fetch->batch.tokens);
    free((void *)fetch->batch.group.data);
    free((void *)fetch->batch.consumer.data);
    free(fetch);
}

static void fetch_end(struct fetch *fetch)
{
    crowd_leave(&fetch->consumers->crowd);
    fetch_free(fetch);
}

/* ---- a consumer that left before it got its events ---- */

static void undo_run(struct errand *errand)
{
    struct fetch *fetch = (struct fetch *)errand;

    groups_undo(fetch->consumers->server->groups, &fetch->batch);
}

static void undo_back(struct errand *errand)
{
    fetch_end((struct fetch *)errand);
}

static void fetch_abandon(struct fetch *fetch)
{
    if (fetch->answer != 0 || fetch->batch.count == 0) {
        fetch_end(fetch);
        return;
    }
    fetch->errand.run = undo_run;
    fetch->errand.back = undo_back;
    errand_send(&fetch->errand);
}

/* ---- one look ---- */

static void look_run(struct errand *errand)
{
    struct fetch *fetch = (struct fetch *)errand;

    fetch->answer = http_memory_is_full(errand->http)
                        ? -ENOBUFS
                        : groups_fetch(fetch->consumers->server->groups, &fetch->batch);
    http_memory_set(errand->http, &fetch->held, 2 * fetch->batch.out.size);
}

static int write_text(struct fetch *fetch)
{
    int r = buffer_append_string(&fetch->text, "{\"events\":[");

    r = r < 0 ? r : buffer_append_bytes(&fetch->text, buffer_bytes(&fetch->batch.out));
    return r < 0 ? r
                 : buffer_printf(&fetch->text, "],\"lease_seconds\":%llu}",
                                 (unsigned long long)fetch->batch.lease_s);
}

/* Answers that is how it is, before the answer has begun. */
static void answer_plainly(struct fetch *fetch)
{
    struct http_request *request = fetch->member.request;
    int r = fetch->answer == 0 ? write_text(fetch) : fetch->answer;

    http_header(request, "Cache-Control", "no-store");
    if (r == 0)
        http_answer(request, 200, "application/json", &fetch->text);
    else if (r == -ENOBUFS)
        http_memory_refuse(request);
    else
        answer_group(request, r, NULL);
    if (r == 0 && fetch->batch.count > 0)
        crowd_call(&fetch->consumers->crowd); /* there may be more, for another */
    fetch_end(fetch);
}

static void alarm_set(struct fetch *fetch)
{
    uint64_t now_ns = os_monotonic_ns();
    uint64_t until_ns = fetch->batch.due_ns < fetch->deadline_ns ? fetch->batch.due_ns : fetch->deadline_ns;
    uint64_t ms = until_ns > now_ns ? (until_ns - now_ns) / OS_NS_PER_MS + 1 : 1;

    if (http_timer_set(fetch->consumers->server->http, &fetch->alarm, (uint32_t)ms) < 0)
        fetch->deadline_ns = 0; /* no memory to wait with */
}

static bool is_over(const struct fetch *fetch)
{
    return fetch->answer != 0 || fetch->batch.count > 0 || os_monotonic_ns() >= fetch->deadline_ns ||
           http_draining(fetch->consumers->server->http);
}

static void look(struct fetch *fetch)
{
    fetch->again = false;
    http_timer_cancel(fetch->consumers->server->http, &fetch->alarm);
    errand_send(&fetch->errand);
}

static void stream_begin(struct fetch *fetch);

static void look_back(struct errand *errand)
{
    struct fetch *fetch = (struct fetch *)errand;

    if (!fetch->member.request) {
        fetch_abandon(fetch);
    } else if (!is_over(fetch)) {
        if (!fetch->streaming)
            stream_begin(fetch);
        else if (fetch->again)
            look(fetch);
        else
            alarm_set(fetch);
    } else if (fetch->streaming) {
        fetch->done = true;
        http_wake(fetch->member.request);
    } else {
        answer_plainly(fetch);
    }
}

static void alarm_rings(struct http_task *task)
{
    struct fetch *fetch = (struct fetch *)((char *)task - offsetof(struct fetch, alarm.task));

    if (!fetch->errand.out && !fetch->done)
        look(fetch);
}

/* ---- an answer that has begun ---- */

static ssize_t fetch_read(void *user, uint8_t *buffer, size_t size)
{
    struct fetch *fetch = user;

    if (!fetch->member.listed) {
        crowd_join(&fetch->consumers->crowd, &fetch->member);
        look(fetch); /* what came between the first look and now */
    }
    if (!fetch->done)
        return HTTP_SOURCE_WAIT;
    if (fetch->answer < 0 || (fetch->text.size == 0 && write_text(fetch) < 0))
        return HTTP_SOURCE_FAILED;
    if (fetch->offset == fetch->text.size)
        return HTTP_SOURCE_END;
    size = fetch->text.size - fetch->offset < size ? fetch->text.size - fetch->offset : size;
    memcpy(buffer, fetch->text.data + fetch->offset, size);
    fetch->offset += size;
    return (ssize_t)size;
}

static void fetch_release(void *user)
{
    struct fetch *fetch = user;

    if (fetch->member.listed)
        crowd_part(&fetch->member);
    http_timer_cancel(fetch->consumers->server->http, &fetch->alarm);
    crowd_call(&fetch->consumers->crowd); /* let somebody else be the one who is asked */
    fetch->member.request = NULL;
    if (fetch->errand.out)
        return;
    if (fetch->offset == 0)
        fetch_abandon(fetch);
    else
        fetch_end(fetch); /* it was sent, whether it arrived or not: at least once */
}

static void stream_begin(struct fetch *fetch)
{
    static const struct http_source source = {.read = fetch_read, .free = fetch_release, .watched = true};

    fetch->streaming = true;
    crowd_headers(fetch->member.request);
    http_answer_stream(fetch->member.request, 200, "application/json", &source, fetch);
}

/* ---- the request ---- */

static struct fetch *fetch_new(struct http_request *request, const struct group_body *body)
{
    struct fetch *fetch = calloc(1, sizeof(*fetch));
    struct bytes name = http_request_param(request, 0);

    if (!fetch)
        return NULL;
    *fetch = (struct fetch){
        .errand = {.http = http_request_server(request), .run = look_run, .back = look_back},
        .member.request = request,
        .consumers = server_of(request)->consumers,
        .alarm.task.run = alarm_rings,
        .group_hash = hash_fast64(name, 0),
        .deadline_ns = os_monotonic_ns() + body->wait_s * OS_NS_PER_SECOND,
        .batch = {.max = body->count,
                  .size_max = server_of(request)->options->limits.page_size_max,
                  .tokens = calloc(body->count, sizeof(struct group_token)),
                  .group = bytes_make(bytes_dup_string(name), name.size),
                  .consumer = bytes_make(bytes_dup_string(body->consumer), body->consumer.size)},
    };
    if (fetch->batch.tokens && fetch->batch.group.data && fetch->batch.consumer.data)
        return fetch;
    fetch_free(fetch);
    return NULL;
}

void handle_group_fetch(struct http_request *request)
{
    struct server *server = server_of(request);
    struct group_body body = {.count = GROUP_FETCH_COUNT_DEFAULT};
    struct fetch *fetch = NULL;

    /* Before events are leased, not when they are there. */
    if (http_memory_refused(request) || group_refused(request) ||
        !group_body_read(request, GROUP_BODY_FETCH, &body))
        return;
    if (crowd_enter(&server->consumers->crowd, request, server->options->limits.group_waiting_count_max,
                    "too-many-consumers", "As many consumers wait as the server takes.")) {
        fetch = fetch_new(request, &body);
        if (!fetch) {
            crowd_leave(&server->consumers->crowd);
            answer_failure(request, -ENOMEM);
        }
    }
    group_body_deinit(&body);
    if (fetch)
        errand_send(&fetch->errand);
}

/* ---- all of them ---- */

/* Looks again for one of each group: the one that waits longest, which stands last. */
static void consumers_turn(struct crowd *crowd)
{
    for (struct crowd_member *member = crowd->members; member; member = member->next) {
        struct fetch *chosen = fetch_of(member), *other;
        bool first = true;
        for (struct crowd_member *before = crowd->members; before != member && first; before = before->next)
            first = fetch_of(before)->group_hash != chosen->group_hash;
        for (struct crowd_member *next = member->next; first && next; next = next->next) {
            other = fetch_of(next);
            if (other->group_hash == chosen->group_hash && !other->done)
                chosen = other;
        }
        if (!first || chosen->done)
            continue;
        if (chosen->errand.out)
            chosen->again = true;
        else
            look(chosen);
    }
}

int consumers_new(struct server *server, struct consumers **ret_consumers)
{
    struct consumers *consumers = calloc(1, sizeof(*consumers));

    if (!consumers)
        return -ENOMEM;
    consumers->server = server;
    consumers->crowd.turn = consumers_turn;
    crowd_init(&consumers->crowd, server->http, server->journal);
    *ret_consumers = consumers;
    return 0;
}

void consumers_call(void *consumers)
{
    if (((struct consumers *)consumers)->crowd.open > 0)
        crowd_call(&((struct consumers *)consumers)->crowd);
}

void consumers_drain(struct consumers *consumers)
{
    for (struct crowd_member *member = consumers->crowd.members; member; member = member->next) {
        if (!fetch_of(member)->errand.out && !fetch_of(member)->done)
            look(fetch_of(member));
    }
}

void consumers_quiet(struct consumers *consumers)
{
    if (consumers)
        crowd_quiet(&consumers->crowd);
}

void consumers_free(struct consumers *consumers)
{
    free(consumers);
}

uint64_t consumers_open_count(const struct consumers *consumers)
{
    return consumers->crowd.open;
}
