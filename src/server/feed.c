/* Subscriptions: events as server-sent events, from any position on, then live (feed_internal.h tells how). */

#include <assert.h>
#include <stdlib.h>

#include "server/feed_internal.h"

/* What is new goes into the row once; then somebody who waits and has something to get is woken, and who has not moves
 * his cursor in passing. */
static void feed_turn(struct crowd *crowd)
{
    struct feed *feed = (struct feed *)crowd;

    if (!feed->row.reader)
        return;
    if (atomic_exchange(&feed->stale, false)) {
        row_clear(&feed->row); /* subscribers that were in it read the journal until they have caught up */
        row_begin(&feed->row);
    }
    if (row_take_new(&feed->row))
        crowd_call(crowd);
    for (struct crowd_member *member = crowd->members; member; member = member->next) {
        struct subscriber *subscriber =
            (struct subscriber *)((char *)member - offsetof(struct subscriber, member));
        if (subscriber_has_news(subscriber))
            http_wake(member->request);
    }
}

static void feed_beat(struct crowd *crowd)
{
    const struct feed *feed = (struct feed *)crowd;
    uint64_t heartbeat_ms = feed->server->options->limits.heartbeat_ms, now_ms = crowd_now_ms();

    for (struct crowd_member *member = crowd->members; member; member = member->next) {
        struct subscriber *subscriber =
            (struct subscriber *)((char *)member - offsetof(struct subscriber, member));
        if (now_ms - member->sent_ms < heartbeat_ms || (!subscriber->waiting && !subscriber->errand.out))
            continue;
        subscriber->beat = true;
        http_wake(member->request);
    }
}

void feed_subscribe(struct http_request *request, struct filter *filter, uint64_t after, bool reset)
{
    static const struct http_source source = {
        .read = subscriber_read, .free = subscriber_release, .withdraw = subscriber_withdraw, .endless = true};
    struct feed *feed = server_of(request)->feed;
    struct subscriber *subscriber;
    bool named = false;

    if (after >= journal_head(feed->server->journal) && damage_refused(request)) {
        filter_deinit(filter);
        return;
    }
    if (parted_refused(request) || !ask_flag(request, "named", &named) ||
        !crowd_enter(&feed->crowd, request, feed->server->options->limits.subscription_count_max,
                     "too-many-subscriptions", "The server has as many open subscriptions as it takes.")) {
        filter_deinit(filter);
        return;
    }
    subscriber = subscriber_new(feed, request, filter, after, named);
    if (!subscriber) {
        crowd_leave(&feed->crowd);
        filter_deinit(filter);
        answer_failure(request, -ENOMEM);
        return;
    }
    if (reset)
        subscriber_say_reset(subscriber);
    crowd_headers(request);
    answer_position(request, journal_head(feed->server->journal));
    http_answer_stream(request, 200, "text/event-stream", &source, subscriber);
}

int feed_new(struct server *server, struct feed **ret_feed)
{
    struct feed *feed = calloc(1, sizeof(*feed));

    if (!feed)
        return -ENOMEM;
    feed->server = server;
    feed->row.server = server;
    feed->crowd.turn = feed_turn;
    feed->crowd.beat = feed_beat;
    crowd_init(&feed->crowd, server->http, server->journal);
    *ret_feed = feed;
    return 0;
}

void feed_quiet(struct feed *feed)
{
    if (feed)
        crowd_quiet(&feed->crowd);
}

void feed_forget(struct feed *feed)
{
    atomic_store(&feed->stale, true);
    crowd_call(&feed->crowd);
}

void feed_free(struct feed *feed)
{
    if (!feed)
        return;
    assert(!feed->crowd.members); /* their requests are over */
    row_deinit(&feed->row);
    free(feed);
}

void feed_figures(const struct feed *feed, struct feed_figures *ret_figures)
{
    *ret_figures = (struct feed_figures){.open = feed->crowd.open,
                                         .delivered = feed->delivered,
                                         .frames = feed->row.encoded,
                                         .frames_bytes = feed->row.frames_size_bytes,
                                         .refused = feed->crowd.refused};
}
