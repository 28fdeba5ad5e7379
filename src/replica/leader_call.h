/* leader_call: what every request to the leader has in common: its address, the token, and what curl may do. */
#pragma once

#include <curl/curl.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    LEADER_CONNECT_MS_MAX = 5000, /* until a connection stands */
    LEADER_UNIX_SIZE_MAX = 112,   /* "unix:" and the longest path of a socket */
};
#define LEADER_UNIX_PREFIX "unix:"

struct leader_call {
    const char *url, *token; /* token: NULL: none */
    const char *path;        /* "/v1/log"; asked for with ?after= */
    uint64_t after;
    const char *accept; /* media type */
    size_t (*on_bytes)(char *data, size_t size, size_t count, void *user);
    void *user;
    char *error; /* CURL_ERROR_SIZE bytes */
};

/* Prepare a transfer. `ret_headers` is the caller's to free after it, also on failure. false: no memory, or too long. */
bool leader_call_set_up(const struct leader_call *call, CURL *curl, struct curl_slist **ret_headers);
