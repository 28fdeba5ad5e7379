#include "replica/key_copy.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "os/clock.h"
#include "os/thread.h"
#include "replica/leader_call.h"

enum {
    SLOT_SIZE = 128,
    NEXT_SIZE = 8, /* before the slots */
    ANSWER_SIZE_MAX = NEXT_SIZE + (1 + KEY_COPY_COUNT_MAX) * SLOT_SIZE,
    BACKOFF_MS_MAX = 2000,
};

struct key_copy {
    struct key_copy_options options;
    struct os_thread thread;
    CURLM *multi;
    atomic_bool stop;
    struct os_mutex lock;
    struct os_cond called;
    bool asked;                        /* m */
    char reason[KEY_COPY_REASON_SIZE]; /* m */
    uint64_t fetches;                  /* m */
    /* the thread's alone */
    uint64_t next;        /* the leader's slots before this one have been taken */
    struct buffer answer; /* of ANSWER_SIZE_MAX from the start, so that no copy of a key stays behind */
    unsigned failures;    /* in a row */
};

/* How a fetch ended. */
enum outcome {
    TAKEN,   /* all there was */
    MORE,    /* there is more */
    REFUSED, /* and will be for a while */
    FAILED,  /* it may go better soon */
};

_printf_(2, 3) static void set_reason(struct key_copy *keys, const char *format, ...)
{
    va_list arguments;
    _os_locked_(&keys->lock);
    va_start(arguments, format);
    (void)vsnprintf(keys->reason, sizeof(keys->reason), format, arguments);
    va_end(arguments);
}

void key_copy_status(struct key_copy *keys, uint64_t *ret_fetches, char ret_reason[KEY_COPY_REASON_SIZE])
{
    _os_locked_(&keys->lock);
    *ret_fetches = keys->fetches;
    memcpy(ret_reason, keys->reason, sizeof(keys->reason));
}

/* --- one answer ----------------------------------------------------------------------------------------------------------- */

static size_t on_bytes(char *data, size_t size, size_t count, void *user)
{
    struct key_copy *keys = user;
    if (size * count > ANSWER_SIZE_MAX - keys->answer.size)
        return CURL_WRITEFUNC_ERROR;
    return buffer_append(&keys->answer, data, size * count) == 0 ? size * count : CURL_WRITEFUNC_ERROR;
}

/* Until the answer is here, the time is over or `stop`. */
static CURLcode transfer(struct key_copy *keys, CURL *curl)
{
    CURLcode code = CURLE_ABORTED_BY_CALLBACK;
    if (curl_multi_add_handle(keys->multi, curl) != CURLM_OK)
        return CURLE_FAILED_INIT;
    while (!atomic_load(&keys->stop)) {
        int running = 0, left = 0;
        (void)curl_multi_perform(keys->multi, &running);
        const CURLMsg *message = curl_multi_info_read(keys->multi, &left);
        if (message && message->msg == CURLMSG_DONE) {
            code = message->data.result;
            break;
        }
        (void)curl_multi_poll(keys->multi, NULL, 0, KEY_COPY_AGAIN_MS, NULL);
    }
    (void)curl_multi_remove_handle(keys->multi, curl);
    return code;
}

/* Ask for the keys from keys->next on. The status, or 0 when there was none. */
static long call(struct key_copy *keys)
{
    char error[CURL_ERROR_SIZE] = "";
    struct curl_slist *headers = NULL;
    long status = 0;
    const struct leader_call call = {.url = keys->options.url,
                                     .token = keys->options.token,
                                     .path = "/v1/keys",
                                     .after = keys->next,
                                     .accept = KEY_COPY_MEDIA_TYPE,
                                     .on_bytes = on_bytes,
                                     .user = keys,
                                     .error = error};
    CURL *curl = curl_easy_init();
    bool ready = curl && leader_call_set_up(&call, curl, &headers) &&
                 curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)KEY_COPY_ANSWER_MS_MAX) == CURLE_OK;
    CURLcode code = ready ? transfer(keys, curl) : CURLE_OUT_OF_MEMORY;
    if (code == CURLE_OK)
        (void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    else
        set_reason(keys, "the leader's keys cannot be fetched: %.180s",
                   error[0] ? error : curl_easy_strerror(code));
    curl_easy_cleanup(curl);
    curl_slist_free_all(headers);
    return status;
}

/* --- what it means ----------------------------------------------------------------------------------------------------------- */

static enum outcome refused(struct key_copy *keys, long status)
{
    if (status == 401 || status == 403)
        set_reason(keys, "the leader gives its keys to operators only: the leader token is not one's (status %ld)",
                   status);
    else
        set_reason(keys, "the leader answered with status %ld when it was asked for its keys", status);
    return status >= 500 ? FAILED : REFUSED;
}

static enum outcome not_imported(struct key_copy *keys, int r)
{
    switch (r) {
    case VAULT_E_NEWER: set_reason(keys, "the leader's keys are of a newer format"); return REFUSED;
    case VAULT_E_DAMAGED:
        set_reason(keys, "the leader's keys are not of one family with those in the folder keys");
        return REFUSED;
    default: set_reason(keys, "the leader's keys cannot be stored: %s", strerrordesc_np(-r)); return FAILED;
    }
}

static enum outcome take_answer(struct key_copy *keys)
{
    struct bytes answer = buffer_bytes(&keys->answer);
    if (answer.size < NEXT_SIZE + SLOT_SIZE) {
        set_reason(keys, "the leader sent something else than keys");
        return REFUSED;
    }
    uint64_t next = bytes_get_u64(answer.data);
    int r = vault_import(keys->options.vault, bytes_slice(answer, NEXT_SIZE, answer.size - NEXT_SIZE));
    if (r != 0)
        return not_imported(keys, r);
    bool more = next > keys->next && answer.size > NEXT_SIZE + SLOT_SIZE;
    keys->next = next > keys->next ? next : keys->next;
    set_reason(keys, "%s", "");
    os_mutex_lock(&keys->lock);
    keys->fetches++;
    os_mutex_unlock(&keys->lock);
    return more ? MORE : TAKEN;
}

static enum outcome fetch(struct key_copy *keys)
{
    const struct breaker *breaker = keys->options.breaker;
    struct breaker_permit permit;
    if (breaker_acquire(breaker, breaker_clock(), 0, &permit) != 0)
        return FAILED;
    buffer_clear(&keys->answer);
    long status = call(keys);
    (void)breaker_report(breaker, &permit,
                         atomic_load(&keys->stop)       ? BREAKER_NEUTRAL
                         : status == 0 || status >= 500 ? BREAKER_FAILURE
                                                        : BREAKER_OK,
                         breaker_clock());
    enum outcome outcome = status == 0 ? FAILED : status == 200 ? take_answer(keys) : refused(keys, status);
    explicit_bzero(keys->answer.data, keys->answer.size);
    return outcome;
}

/* --- the thread ---------------------------------------------------------------------------------------------------------------- */

/* The pause after a fetch. */
static uint64_t pause_ms(struct key_copy *keys, enum outcome outcome)
{
    keys->failures = outcome == FAILED ? keys->failures + 1 : 0;
    if (outcome == REFUSED)
        return KEY_COPY_REFUSED_MS;
    if (outcome != FAILED)
        return outcome == MORE ? 0 : KEY_COPY_PAUSE_MS;
    uint64_t ms = keys->failures < 6 ? (uint64_t)KEY_COPY_PAUSE_MS << keys->failures : BACKOFF_MS_MAX;
    return ms < BACKOFF_MS_MAX ? ms : BACKOFF_MS_MAX;
}

/* First the pause, then until somebody asks, or misses a key. false: stopping. */
static bool wait_for_call(struct key_copy *keys, enum outcome outcome)
{
    uint64_t until_ns = os_monotonic_ns() + pause_ms(keys, outcome) * OS_NS_PER_MS;
    bool wanted = outcome != TAKEN;
    _os_locked_(&keys->lock);
    while (!atomic_load(&keys->stop) && os_cond_wait_until(&keys->called, &keys->lock, until_ns))
        continue;
    while (!atomic_load(&keys->stop) && !wanted && !keys->asked) {
        until_ns = os_monotonic_ns() + KEY_COPY_AGAIN_MS * OS_NS_PER_MS;
        if (!os_cond_wait_until(&keys->called, &keys->lock, until_ns))
            wanted = vault_is_missing(keys->options.vault);
    }
    keys->asked = false;
    return !atomic_load(&keys->stop);
}

static void copy_keys(void *user)
{
    struct key_copy *keys = user;
    enum outcome outcome;
    do
        outcome = fetch(keys);
    while (wait_for_call(keys, outcome));
}

void key_copy_ask(struct key_copy *keys)
{
    _os_locked_(&keys->lock);
    keys->asked = true;
    os_cond_signal(&keys->called);
}

/* --- life ---------------------------------------------------------------------------------------------------------------------- */

int key_copy_start(const struct key_copy_options *options, struct key_copy **ret_keys)
{
    struct key_copy *keys = calloc(1, sizeof(*keys));
    if (!keys)
        return -ENOMEM;
    keys->options = *options;
    os_mutex_init(&keys->lock);
    os_cond_init(&keys->called);
    keys->multi = curl_multi_init();
    int r = keys->multi ? buffer_reserve(&keys->answer, ANSWER_SIZE_MAX) : -ENOMEM;
    if (r == 0)
        r = os_thread_start(&keys->thread, "keys", copy_keys, keys);
    if (r < 0) {
        key_copy_stop(keys);
        return r;
    }
    *ret_keys = keys;
    return 0;
}

void key_copy_stop(struct key_copy *keys)
{
    if (!keys)
        return;
    os_mutex_lock(&keys->lock);
    atomic_store(&keys->stop, true);
    os_cond_broadcast(&keys->called);
    os_mutex_unlock(&keys->lock);
    if (keys->multi)
        (void)curl_multi_wakeup(keys->multi);
    os_thread_join(&keys->thread);
    if (keys->multi)
        (void)curl_multi_cleanup(keys->multi);
    buffer_deinit(&keys->answer);
    os_cond_deinit(&keys->called);
    os_mutex_deinit(&keys->lock);
    free(keys);
}
