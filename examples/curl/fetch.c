#include "fetch.h"

#include <stdlib.h>
#include <string.h>

static size_t body_add(char *bytes, size_t one, size_t count, void *context)
{
    struct fetch *fetch = context;
    if (count > FETCH_SIZE_MAX - fetch->size)
        return 0; /* libcurl ends the transfer with CURLE_WRITE_ERROR */
    char *body = realloc(fetch->body, fetch->size + count + 1);
    if (!body)
        return 0;
    memcpy(body + fetch->size, bytes, count);
    fetch->body = body;
    fetch->size += count;
    return count;
}

static enum breaker_outcome outcome_of(CURLcode code, long status)
{
    if (code == CURLE_OPERATION_TIMEDOUT)
        return BREAKER_TIMEOUT;
    if (code == CURLE_WRITE_ERROR || code == CURLE_OUT_OF_MEMORY || code == CURLE_URL_MALFORMAT)
        return BREAKER_NEUTRAL; /* our own doing */
    if (code != CURLE_OK)
        return BREAKER_FAILURE;
    if (status == 429)
        return BREAKER_NEUTRAL;
    return status >= 500 && status != 501 && status != 505 ? BREAKER_FAILURE : BREAKER_OK;
}

/* libcurl counts in ms and takes 0 for "no limit". */
static long timeout_ms(uint64_t left_ns)
{
    uint64_t ms = left_ns / 1000000;
    return left_ns == UINT64_MAX ? 0 : ms < 1 ? 1 : ms > 86400000 ? 86400000 : (long)ms;
}

void fetch_call(void *context, uint32_t attempt, uint64_t left_ns, struct breaker_result *ret_result)
{
    struct fetch *fetch = context;
    curl_off_t first_byte_us = 0, retry_after_s = 0;
    (void)attempt;
    fetch->size = 0;
    fetch->status = 0;
    curl_easy_setopt(fetch->curl, CURLOPT_URL, fetch->url);
    curl_easy_setopt(fetch->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(fetch->curl, CURLOPT_TIMEOUT_MS, timeout_ms(left_ns));
    curl_easy_setopt(fetch->curl, CURLOPT_WRITEFUNCTION, body_add);
    curl_easy_setopt(fetch->curl, CURLOPT_WRITEDATA, fetch);
    CURLcode code = curl_easy_perform(fetch->curl);
    curl_easy_getinfo(fetch->curl, CURLINFO_RESPONSE_CODE, &fetch->status);
    curl_easy_getinfo(fetch->curl, CURLINFO_STARTTRANSFER_TIME_T, &first_byte_us);
    curl_easy_getinfo(fetch->curl, CURLINFO_RETRY_AFTER, &retry_after_s);
    ret_result->outcome = outcome_of(code, fetch->status);
    ret_result->took_ns = first_byte_us > 0 ? (uint64_t)first_byte_us * 1000 : 0;
    if (retry_after_s > 0 && retry_after_s < 86400)
        ret_result->retry_after_ns = (uint64_t)retry_after_s * 1000000000;
}
