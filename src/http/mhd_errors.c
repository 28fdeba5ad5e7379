/* What libmicrohttpd answers by itself, as problems.
 *
 * It refuses what it cannot read before any of our code is asked, with a short page of HTML, which it queues by calling
 * MHD_queue_response(), its own public function. That call goes through the table of dynamic symbols, where the program comes
 * before the library: the function below is the one that it finds, and changes the answer to a problem. Our own answers go
 * past it, straight to the library (mhd_queue()). Should a later libmicrohttpd call itself in another way, its pages are
 * HTML again, and a test fails.
 *
 * A Content-Length that is no number, or too large a one, needs more: 0.9.75 sends the header of that refusal twice. It is answered over the bare
 * socket, which is then shut, so that what libmicrohttpd goes on to send reaches nobody. It must be let to queue something
 * all the same: when that fails it frees the request in the middle of reading it, and reads on. */

#include <dlfcn.h>

#include "http/internal.h"

static const struct mhd_refusal {
    unsigned status;
    const char *code, *detail;
} refusals[] = {
    {400, "malformed-request", "The request cannot be read: its first line, a header field, its length or a chunk."},
    {413, "body-too-large", "The body of the request is too large."},
    {414, "target-too-long", "Path and query are too long."},
    {431, "header-too-large", "The header is too large."},
    {505, "http-version", "The server speaks HTTP/1.1."},
};

enum MHD_Result mhd_queue(struct MHD_Connection *mhd, unsigned status, struct MHD_Response *response)
{
    static enum MHD_Result (*queue)(struct MHD_Connection *, unsigned, struct MHD_Response *);

    if (!queue)
        queue = (enum MHD_Result(*)(struct MHD_Connection *, unsigned, struct MHD_Response *))dlsym(
            RTLD_NEXT, "MHD_queue_response");
    return queue ? queue(mhd, status, response) : MHD_NO;
}

static const struct mhd_refusal *find_refusal(unsigned status)
{
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++)
        if (refusals[i].status == status)
            return &refusals[i];
    return NULL;
}

static bool length_is_number(const char *length)
{
    uint64_t size;

    return !length || bytes_parse_u64(bytes_from_string(length), &size) == 0;
}

static enum MHD_Result queue_problem(struct http *http, struct MHD_Connection *mhd, const struct mhd_refusal *refusal,
                                      struct MHD_Response *theirs)
{
    struct http_problem problem = {
        .status = refusal->status, .code = refusal->code, .detail = refusal->detail};
    struct buffer body = {0};
    struct MHD_Response *response = NULL;
    enum MHD_Result result = MHD_NO;

    if (http_problem_write(&problem, http->options.problem_prefix, (struct bytes){0}, &body) == 0)
        response = MHD_create_response_from_buffer(body.size, body.data, MHD_RESPMEM_MUST_COPY);
    buffer_deinit(&body);
    if (!response)
        return mhd_queue(mhd, refusal->status, theirs);
    MHD_add_response_header(response, "Content-Type", "application/problem+json");
    result = mhd_queue(mhd, refusal->status, response);
    MHD_destroy_response(response);
    http->counters.answers[refusal->status / 100]++;
    return result;
}

/* Called by libmicrohttpd alone. */
__attribute__((visibility("default"))) enum MHD_Result
MHD_queue_response(struct MHD_Connection *mhd, unsigned status, struct MHD_Response *response)
{
    struct http_connection *connection =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
    const struct mhd_refusal *refusal = find_refusal(status);

    if (!connection || !refusal)
        return mhd_queue(mhd, status, response);
    if (!connection->gone && !length_is_number(MHD_lookup_connection_value(mhd, MHD_HEADER_KIND, "Content-Length")))
        connection_cut(connection, refusal->status, refusal->code, refusal->detail);
    if (connection->gone)
        return mhd_queue(mhd, status, response);
    return queue_problem(connection->http, mhd, refusal, response);
}
