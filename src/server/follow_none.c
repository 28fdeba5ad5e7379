/* In the place of follow.c and log_feed.c as long as src/replica is not there: following is refused by name. */

#include <stdio.h>
#include <stdlib.h>

#include "server/internal.h"

struct log_feed {
    int nothing;
};

int follower_prepare(struct server *server, const char *log_folder, struct file_log_options *options, char *ret_error)
{
    snprintf(ret_error, SERVER_ERROR_SIZE, "this daybook was built without followers");
    return SERVER_E_START;
}

int follower_start(struct server *server, char *ret_error)
{
    return SERVER_E_START;
}

void follower_stop(struct follower *follower)
{
}

void follower_write(struct follower *follower, struct json_writer *w)
{
}

int follower_metrics(struct follower *follower, struct buffer *out)
{
    return 0;
}

void handle_log(struct http_request *request)
{
    http_answer_error(request, 501, "not-built", "This daybook was built without followers.");
}

int log_feed_new(struct server *server, struct log_feed **ret_feed)
{
    *ret_feed = calloc(1, sizeof(**ret_feed));
    return *ret_feed ? 0 : -ENOMEM;
}

void log_feed_quiet(struct log_feed *feed)
{
}

void log_feed_free(struct log_feed *feed)
{
    free(feed);
}

uint64_t log_feed_open_count(const struct log_feed *feed)
{
    return 0;
}
