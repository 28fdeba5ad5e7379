/* HTTP requests of the command line, over libcurl: one handle, reused, so that the connection is kept. It is driven through the
 * multi interface, because that can wait for other descriptors too: for the request to stop and for standard output, whose
 * reader may leave while nothing comes. */
#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli.h"
#include "client.h"
#include "os/clock.h"
#include "output.h"
#include "stop.h"

enum {
    CONNECT_TIMEOUT_MS = 5000,
    RETRY_DELAY_MS_MIN = 50, /* after the first refusal; doubles up to the next */
    RETRY_DELAY_MS_MAX = 1000,
    URL_SIZE_MAX = 16384,
    URL_BASE_SIZE_MAX = 1024,
    LINE_SIZE_MAX = 16 << 20,
    LOOK_INTERVAL_MS = 1000, /* whatever the descriptors say */
};
#define UNIX_PREFIX "unix:"

struct client {
    CURL *curl;
    CURLM *multi;
    char url[URL_BASE_SIZE_MAX + 32];
    const char *socket; /* in `url`, the path of a unix socket; else NULL */
    char authorization[CLIENT_TOKEN_SIZE_MAX + 32];
    char reason[CURL_ERROR_SIZE];       /* what curl says */
    char error[CURL_ERROR_SIZE + 1200]; /* and what we make of it */
};

/* What one transfer collects. */
struct transfer {
    struct client_answer *answer;
    long retry_after_s;
    int (*line)(void *user, struct bytes line); /* NULL: the body goes to the answer */
    void *user;
    struct buffer partial; /* of a line */
    int stopped;           /* what line() answered, or -errno */
    CURL *curl;
};

/* unix:PATH becomes the path behind a URL that only names the host. */
static void set_url(struct client *client, const char *url)
{
    static const char host[] = "http://localhost";
    const char *path = url + strlen(UNIX_PREFIX);
    char *text = client->url;

    if (strncmp(url, UNIX_PREFIX, strlen(UNIX_PREFIX)) == 0) {
        memcpy(text, host, sizeof host);
        client->socket = memcpy(text + sizeof host, path, strlen(path) + 1);
        return;
    }
    memcpy(text, url, strlen(url) + 1);
    for (size_t size = strlen(text); size > 0 && text[size - 1] == '/';)
        text[--size] = '\0';
}

int client_new(const char *url, const char *token, struct client **ret_client)
{
    struct client *client = calloc(1, sizeof *client);
    if (!client)
        return -ENOMEM;
    curl_global_init(CURL_GLOBAL_DEFAULT);
    client->curl = curl_easy_init();
    client->multi = curl_multi_init();
    bool fits = strlen(url) < URL_BASE_SIZE_MAX && (!token || strlen(token) <= CLIENT_TOKEN_SIZE_MAX);
    if (!client->curl || !client->multi || !fits) {
        client_free(client);
        return fits ? -ENOMEM : -E2BIG;
    }
    set_url(client, url);
    if (token)
        snprintf(client->authorization, sizeof client->authorization, "Authorization: Bearer %s", token);
    *ret_client = client;
    return 0;
}

void client_free(struct client *client)
{
    if (!client)
        return;
    curl_easy_cleanup(client->curl);
    curl_multi_cleanup(client->multi);
    free(client);
}

const char *client_error(const struct client *client)
{
    return client->error;
}

void client_answer_deinit(struct client_answer *answer)
{
    buffer_deinit(&answer->body);
}

static int take_lines(struct transfer *transfer, struct bytes chunk)
{
    while (chunk.size > 0) {
        const uint8_t *end = memchr(chunk.data, '\n', chunk.size);
        size_t size = end ? (size_t)(end - chunk.data) : chunk.size;
        int r = buffer_append(&transfer->partial, chunk.data, size);
        if (r < 0)
            return r;
        if (!end)
            return 0;
        struct bytes line = buffer_bytes(&transfer->partial);
        if (line.size > 0 && line.data[line.size - 1] == '\r')
            line.size--;
        r = transfer->line(transfer->user, line);
        if (r != 0)
            return r;
        buffer_clear(&transfer->partial);
        chunk = bytes_slice(chunk, size + 1, chunk.size);
    }
    return 0;
}

static size_t on_body(char *data, size_t size, size_t count, void *user)
{
    struct transfer *transfer = user;
    long status = 0;

    curl_easy_getinfo(transfer->curl, CURLINFO_RESPONSE_CODE, &status);
    struct bytes chunk = bytes_make(data, size * count);
    if (transfer->line && status == 200)
        transfer->stopped = take_lines(transfer, chunk);
    else
        transfer->stopped = buffer_append_bytes(&transfer->answer->body, chunk);
    return transfer->stopped == 0 ? chunk.size : 0;
}

/* The value of header `name` if this line is it, without the space around; else an empty span. */
static struct bytes header_value(const char *data, size_t size, const char *name)
{
    size_t name_size = strlen(name);

    if (size <= name_size || strncasecmp(data, name, name_size) != 0 || data[name_size] != ':')
        return bytes_make(NULL, 0);
    data += name_size + 1;
    size -= name_size + 1;
    while (size > 0 && (*data == ' ' || *data == '\t'))
        data++, size--;
    while (size > 0 && (data[size - 1] == '\r' || data[size - 1] == '\n' || data[size - 1] == ' '))
        size--;
    return bytes_make(data, size);
}

static size_t on_header(char *data, size_t size, size_t count, void *user)
{
    struct transfer *transfer = user;
    struct client_answer *answer = transfer->answer;
    uint64_t number;
    struct bytes value;

    size *= count;
    value = header_value(data, size, "Daybook-Position");
    if (value.size > 0 && bytes_parse_u64(value, &number) == 0)
        answer->position = number;
    value = header_value(data, size, "Daybook-Journal");
    if (value.size > 0)
        snprintf(answer->journal, sizeof answer->journal, "%.*s", BYTES_PRINT(value));
    value = header_value(data, size, "Daybook-Role");
    if (value.size > 0)
        answer->follower = bytes_equal_string(value, "follower");
    value = header_value(data, size, "Retry-After");
    if (value.size > 0 && bytes_parse_u64(value, &number) == 0)
        transfer->retry_after_s = number > 3600 ? 3600 : (long)number;
    value = header_value(data, size, "Content-Type");
    if (value.size > 0)
        snprintf(answer->content_type, sizeof answer->content_type, "%.*s", BYTES_PRINT(value));
    return size;
}

static struct curl_slist *make_headers(const struct client *client, const struct client_request *request)
{
    struct curl_slist *list = curl_slist_append(NULL, "Expect:"); /* no 100-continue round trip */

    for (size_t i = 0; i < CLIENT_HEADER_COUNT_MAX && request->headers[i]; i++)
        list = curl_slist_append(list, request->headers[i]);
    if (client->authorization[0])
        list = curl_slist_append(list, client->authorization);
    return list;
}

/* What curl says, and where nobody answers what is to be done about it. */
static void explain(struct client *client, CURLcode code)
{
    const char *reason = client->reason[0] ? client->reason : curl_easy_strerror(code);

    if (code == CURLE_COULDNT_CONNECT)
        snprintf(client->error, sizeof client->error,
                 "no server answers at %s%s (%s). `daybook serve` starts one; --url or DAYBOOK_URL names another",
                 client->socket ? UNIX_PREFIX : "", client->socket ? client->socket : client->url, reason);
    else
        snprintf(client->error, sizeof client->error, "%s", reason);
}

static void set_options(struct client *client, const struct client_request *request, const char *url,
                        struct curl_slist *headers, struct transfer *transfer)
{
    CURL *curl = client->curl;

    curl_easy_reset(curl);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    if (client->socket)
        curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, client->socket);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, client->reason);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_TIMEOUT_MS);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, transfer);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, transfer);
    if (strcmp(request->method, "GET") != 0) {
        curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request->method);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body.size);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS,
                         request->body.size ? (const char *)request->body.data : "");
    }
}

/* Is this request to be given up? 0 or -errno. */
static int given_up(const struct client_request *request, const struct transfer *transfer)
{
    bool begun = transfer->answer->body.size > 0; /* one that has come is taken */

    if (stop_asked() && !request->settles && (stop_hurried() || (request->waits && !begun)))
        return -ECANCELED;
    return request->prints && output_lost() ? -EPIPE : 0;
}

/* Drives the transfer to its end. Beside it waits for the order to stop and, where the answer is for standard output, for the
 * end of its reader: with no events asked for poll() tells that alone. */
static CURLcode drive(struct client *client, const struct client_request *request, struct transfer *transfer)
{
    CURLMcode answer = curl_multi_add_handle(client->multi, client->curl);
    CURLcode code = CURLE_FAILED_INIT;
    CURLMsg *message;
    int running = 1, left;

    while (answer == CURLM_OK && running && transfer->stopped == 0) {
        struct curl_waitfd others[2];
        unsigned count = 0;
        if (request->prints)
            others[count++] = (struct curl_waitfd){.fd = STDOUT_FILENO};
        if (stop_fd() >= 0 && !stop_asked())
            others[count++] = (struct curl_waitfd){.fd = stop_fd(), .events = CURL_WAIT_POLLIN};
        answer = curl_multi_perform(client->multi, &running); /* first: what has come is read before anything is given up */
        if (answer == CURLM_OK && running && transfer->stopped == 0)
            transfer->stopped = given_up(request, transfer);
        if (answer == CURLM_OK && running && transfer->stopped == 0)
            answer = curl_multi_poll(client->multi, others, count, LOOK_INTERVAL_MS, NULL);
    }
    while ((message = curl_multi_info_read(client->multi, &left)))
        if (message->msg == CURLMSG_DONE)
            code = message->data.result;
    curl_multi_remove_handle(client->multi, client->curl);
    return transfer->stopped != 0 ? CURLE_ABORTED_BY_CALLBACK : code;
}

static CURLcode perform(struct client *client, const struct client_request *request,
                        struct transfer *transfer)
{
    char url[URL_SIZE_MAX];

    if (snprintf(url, sizeof url, "%s%s", client->url, request->path) >= (int)sizeof url) {
        snprintf(client->error, sizeof client->error, "what is asked for is longer than %d bytes", URL_SIZE_MAX);
        return CURLE_URL_MALFORMAT;
    }
    struct curl_slist *headers = make_headers(client, request);
    set_options(client, request, url, headers, transfer);
    transfer->curl = client->curl;
    client->error[0] = client->reason[0] = '\0';
    CURLcode code = drive(client, request, transfer);
    curl_easy_getinfo(client->curl, CURLINFO_RESPONSE_CODE, &transfer->answer->status);
    curl_slist_free_all(headers);
    if (transfer->stopped == -ECANCELED || transfer->stopped == -EPIPE)
        snprintf(client->error, sizeof client->error, transfer->stopped == -EPIPE ? "nobody reads the output" : "stopped");
    else if (code != CURLE_OK)
        explain(client, code);
    return code;
}

/* One attempt. 0: an answer worth showing; -EAGAIN: worth repeating; else -errno. */
static int attempt(struct client *client, const struct client_request *request, struct client_answer *answer,
                   long *ret_retry_after_s)
{
    struct transfer transfer = {.answer = answer};

    memset(answer, 0, sizeof *answer);
    answer->body.size_max = CLIENT_ANSWER_SIZE_MAX;
    CURLcode code = perform(client, request, &transfer);
    *ret_retry_after_s = transfer.retry_after_s;
    if (code == CURLE_OK)
        return answer->status == 503 || answer->status == 502 || answer->status == 504 ||
                       answer->status == 429 || answer->status == 507
                   ? -EAGAIN
                   : 0;
    if (transfer.stopped < 0 || code == CURLE_URL_MALFORMAT || code == CURLE_UNSUPPORTED_PROTOCOL)
        return transfer.stopped < 0 ? transfer.stopped : -EINVAL;
    return -EAGAIN;
}

static bool is_wanted(const struct client_request *request)
{
    return !stop_asked() || (request->settles && !stop_hurried());
}

int client_send(struct client *client, const struct client_request *request, struct client_answer *ret_answer)
{
    uint64_t until_ms = os_monotonic_ms() + request->patience_ms;
    uint64_t delay_ms = RETRY_DELAY_MS_MIN;

    for (unsigned tries = 1;; tries++) {
        struct client_answer answer;
        long retry_after_s = 0;
        int r = attempt(client, request, &answer, &retry_after_s);
        uint64_t wait_ms = retry_after_s > 0 ? (uint64_t)retry_after_s * 1000 : delay_ms;

        if (r == -EAGAIN && request->repeatable && is_wanted(request) && os_monotonic_ms() + wait_ms <= until_ms) {
            client_answer_deinit(&answer);
            stop_wait_ms((unsigned)wait_ms);
            delay_ms = delay_ms * 2 > RETRY_DELAY_MS_MAX ? RETRY_DELAY_MS_MAX : delay_ms * 2;
            continue;
        }
        if (r < 0 && (r != -EAGAIN || client->error[0])) {
            client_answer_deinit(&answer);
            return r == -EAGAIN ? -ECONNREFUSED : r;
        }
        answer.tries = tries;
        *ret_answer = answer;
        return 0;
    }
}

int client_stream(struct client *client, const struct client_request *request,
                  int (*line)(void *user, struct bytes line), void *user, struct client_answer *ret_answer)
{
    struct client_answer answer = {.body.size_max = CLIENT_ANSWER_SIZE_MAX};
    struct transfer transfer = {
        .answer = &answer, .line = line, .user = user, .partial.size_max = LINE_SIZE_MAX};
    CURLcode code = perform(client, request, &transfer);
    int r = 0;

    if (transfer.stopped != 0)
        r = transfer.stopped; /* what line() answered, or why it was given up */
    else if (code != CURLE_OK)
        r = -ECONNRESET;
    else if (transfer.partial.size > 0 && answer.status == 200)
        r = line(user, buffer_bytes(&transfer.partial));
    buffer_deinit(&transfer.partial);
    if (ret_answer)
        *ret_answer = answer;
    else
        client_answer_deinit(&answer);
    return r;
}

static int escape(struct buffer *buffer, unsigned char c)
{
    static const char digits[] = "0123456789ABCDEF";
    bool plain =
        (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || strchr("-._~", c);
    char escaped[3] = {'%', digits[c >> 4], digits[c & 15]};

    return plain ? buffer_append_byte(buffer, c) : buffer_append(buffer, escaped, sizeof escaped);
}

int client_escape(struct buffer *buffer, const char *text)
{
    int r = 0;

    for (; r == 0 && *text; text++)
        r = escape(buffer, (unsigned char)*text);
    return r;
}

int client_escape_list(struct buffer *buffer, const char *text)
{
    int r = 0;

    for (; r == 0 && *text; text++) {
        if (*text == ',')
            r = buffer_append_byte(buffer, ',');
        else
            r = escape(buffer, (unsigned char)(text[0] == '\\' && text[1] == ',' ? *++text : *text));
    }
    return r;
}

int client_open(struct client **ret_client)
{
    int r = client_new(cli_url, cli_token, ret_client);
    return r < 0 ? cli_error(CLI_FAILED, "cannot talk to %.100s: %s", cli_url,
                             r == -E2BIG ? "the URL or the token is too long" : strerror(-r))
                 : CLI_DONE;
}
