#include "replica/leader_call.h"

#include <stdio.h>
#include <string.h>

enum { URL_SIZE_MAX = 2048, HEADER_SIZE_MAX = 1024 };

static bool add_header(struct curl_slist **headers, const char *name, const char *value)
{
    char line[HEADER_SIZE_MAX];
    int n = snprintf(line, sizeof(line), "%s%s", name, value);
    struct curl_slist *longer = n > 0 && (size_t)n < sizeof(line) ? curl_slist_append(*headers, line) : NULL;
    *headers = longer ? longer : *headers;
    return longer != NULL;
}

bool leader_call_set_up(const struct leader_call *call, CURL *curl, struct curl_slist **ret_headers)
{
    const char *socket = strncmp(call->url, LEADER_UNIX_PREFIX, strlen(LEADER_UNIX_PREFIX)) == 0 ? call->url + strlen(LEADER_UNIX_PREFIX) : NULL;
    char full[URL_SIZE_MAX];
    int n = snprintf(full, sizeof(full), "%s%s?after=%llu", socket ? "http://localhost" : call->url, call->path,
                     (unsigned long long)call->after);
    *ret_headers = NULL;
    bool ok = n > 0 && (size_t)n < sizeof(full) && add_header(ret_headers, "Accept: ", call->accept) &&
              (!call->token || add_header(ret_headers, "Authorization: Bearer ", call->token));
    const struct {
        CURLoption option;
        long value;
    } numbers[] = {
        {CURLOPT_NOSIGNAL, 1},       {CURLOPT_CONNECTTIMEOUT_MS, LEADER_CONNECT_MS_MAX},
        {CURLOPT_TCP_NODELAY, 1},    {CURLOPT_BUFFERSIZE, 256 * 1024},
        {CURLOPT_FOLLOWLOCATION, 0},
    };
    for (size_t i = 0; ok && i < sizeof(numbers) / sizeof(numbers[0]); i++)
        ok = curl_easy_setopt(curl, numbers[i].option, numbers[i].value) == CURLE_OK;
    return ok && (!socket || curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, socket) == CURLE_OK) &&
           curl_easy_setopt(curl, CURLOPT_URL, full) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_PROXY, "") == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_HTTPHEADER, *ret_headers) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, call->on_bytes) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_WRITEDATA, call->user) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, call->error) == CURLE_OK;
}
