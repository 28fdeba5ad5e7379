/* One thread, one connection at a time, driven through curl's multi interface so that stopping wakes it at once. Bytes go
 * from curl's callback into the decoder and from there into the journal before curl reads on: a slow disk slows the leader's
 * sending, and nothing is queued here.
 *
 * How a connection ends decides what comes next:
 *     refused, broken, silent, rubbish  → wait, longer each time it happens in a row, and connect again
 *     disk full, refused                → the same, and stalled meanwhile: the leader may be well and go on without us
 *     another journal, another chain    → parted: never again (R2)
 *     this journal writes no more       → failed: never again in this process
 */
#include "replica/replica.h"

#include <assert.h>
#include <curl/curl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "os/clock.h"
#include "os/random.h"
#include "os/thread.h"
#include "replica/key_copy.h"
#include "replica/leader_call.h"
#include "replica/wire.h"

#define BREAKER_RULES_DEFAULT                                                                                \
    "window=30s min_calls=5 consecutive=5 open=1s open_max=10s ramp=0s probes=1 probe_ok=1"
#define POLL_MS 1000

enum { PROBLEM_SIZE = 1024 };

struct replica {
    struct replica_options options;
    char *url, *token;
    struct os_thread thread;
    CURLM *multi;
    atomic_bool stop;
    void *region_memory;
    struct breaker_region region;
    struct breaker breaker;
    struct key_copy *keys; /* NULL: none are fetched */
    struct os_mutex mutex;
    struct replica_status
        status;        /* under the mutex; position, lag and breaker_state are filled in when asked */
    uint64_t heard_ns; /* likewise; 0: nothing yet */
};

/* One connection. */
struct connection {
    struct replica *replica; /* NULL: only the hello is wanted */
    struct journal *journal;
    struct wire_decoder *decoder;
    struct breaker_permit *permit;
    const struct breaker *breaker;
    CURL *curl;
    struct journal_id id; /* of the hello */
    bool said_hello;
    uint64_t heard_ns;
    uint64_t silence_ns;
    enum replica_state verdict; /* WAITING unless something worse was found */
    bool timed_out;
    char reason[256];
    char problem[PROBLEM_SIZE]; /* how the leader refused, as far as it fits */
    size_t problem_size;
    char curl_error[CURL_ERROR_SIZE];
};

const char *replica_state_name(enum replica_state state)
{
    static const char *const names[] = {
        [REPLICA_CONNECTING] = "connecting", [REPLICA_FOLLOWING] = "following", [REPLICA_WAITING] = "waiting",
        [REPLICA_STALLED] = "stalled",       [REPLICA_PARTED] = "parted",       [REPLICA_FAILED] = "failed",
    };
    return names[state];
}

/* --- state ----------------------------------------------------------------------------------------------------------------- */

static void set_state(struct replica *replica, enum replica_state state, const char *reason)
{
    os_mutex_lock(&replica->mutex);
    bool changed = replica->status.state != state || strcmp(replica->status.reason, reason) != 0;
    replica->status.state = state;
    replica->status.connected = state == REPLICA_FOLLOWING;
    (void)snprintf(replica->status.reason, sizeof(replica->status.reason), "%s", reason);
    os_mutex_unlock(&replica->mutex);
    if (changed && replica->options.on_change)
        replica->options.on_change(replica->options.user, state, reason);
}

static void note_heard(struct replica *replica, uint64_t now_ns, uint64_t bytes, uint64_t records,
                       uint64_t leader_head)
{
    _os_locked_(&replica->mutex);
    replica->heard_ns = now_ns;
    replica->status.bytes += bytes;
    replica->status.records += records;
    if (leader_head > 0)
        replica->status.leader_head = leader_head;
}

/* What the leader had when it was first heard is what this copy must have before it is one. */
static void note_first_head(struct replica *replica, uint64_t leader_head)
{
    _os_locked_(&replica->mutex);
    if (replica->status.first_head == UINT64_MAX)
        replica->status.first_head = leader_head;
}

void replica_status(struct replica *replica, struct replica_status *ret_status)
{
    struct breaker_snapshot snapshot;
    uint64_t now_ns = os_monotonic_ns(), position = journal_head(replica->options.journal);
    breaker_snapshot(&replica->breaker, breaker_clock(), &snapshot);
    _os_locked_(&replica->mutex);
    *ret_status = replica->status;
    ret_status->position = position;
    ret_status->lag = replica->status.leader_head > position ? replica->status.leader_head - position : 0;
    ret_status->heard_ms = replica->heard_ns > 0 ? (now_ns - replica->heard_ns) / OS_NS_PER_MS : UINT64_MAX;
    ret_status->breaker_state = (int)snapshot.state;
    if (replica->keys)
        key_copy_status(replica->keys, &ret_status->key_fetches, ret_status->keys_reason);
}

struct breaker_region *replica_region(struct replica *replica)
{
    return &replica->region;
}

/* --- what comes in ----------------------------------------------------------------------------------------------------------- */

_printf_(3, 4) static bool refuse(struct connection *c, enum replica_state verdict, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(c->reason, sizeof(c->reason), format, arguments);
    va_end(arguments);
    c->verdict = verdict;
    return false;
}

/* The leader answered, and as one: that is what the breaker judges (R3). */
static void report(struct connection *c, enum breaker_outcome outcome)
{
    if (c->permit)
        (void)breaker_report(c->breaker, c->permit, outcome, breaker_clock());
}

/* What is followed may itself be a follower, which says so. */
static bool is_follower(struct connection *c)
{
    struct curl_header *role = NULL;
    return curl_easy_header(c->curl, "Daybook-Role", 0, CURLH_HEADER, -1, &role) == CURLHE_OK &&
           strcmp(role->value, "follower") == 0;
}

static bool is_stalled(struct replica *replica)
{
    _os_locked_(&replica->mutex);
    return replica->status.state == REPLICA_STALLED;
}

/* Whether the leader's journal is this one, and still holds what this copy holds. */
static bool take_hello(struct connection *c, const struct wire_message *hello)
{
    report(c, BREAKER_OK);
    c->id = hello->journal;
    c->said_hello = true;
    if (!c->replica)
        return false; /* that was all that was wanted */
    struct journal_id own = journal_id(c->journal);
    uint64_t head = journal_tail(c->journal); /* what is stored here, synced or not yet */
    struct log_chain chain;
    if (memcmp(own.bytes, hello->journal.bytes, sizeof(own.bytes)) != 0)
        return refuse(c, REPLICA_PARTED, "the leader holds another journal");
    if (hello->after != head)
        return refuse(c, REPLICA_WAITING, "the leader answered another question");
    if (hello->head < head && is_follower(c))
        return refuse(c, REPLICA_WAITING, "the follower that is followed is behind this copy");
    if (hello->head < head)
        return refuse(c, REPLICA_PARTED,
                      "the journals have parted: the leader's ends at %llu, this copy at %llu",
                      (unsigned long long)hello->head, (unsigned long long)head);
    int r = journal_chain_at(c->journal, head, &chain);
    if (r != 0)
        return refuse(c, REPLICA_FAILED, "this journal's chain cannot be read");
    if (memcmp(chain.bytes, hello->chain.bytes, sizeof(chain.bytes)) != 0)
        return refuse(c, REPLICA_PARTED, "the journals have parted: the leader's chain at %llu is another",
                      (unsigned long long)head);
    note_first_head(c->replica, hello->head);
    if (c->replica->keys)
        key_copy_ask(c->replica->keys); /* which also tells the leader what is held here */
    if (!is_stalled(c->replica) || hello->head == head) /* else it is when something has come in */
        set_state(c->replica, REPLICA_FOLLOWING, "");
    return true;
}

/* The keys of what is about to be stored. They are fetched beside it: records do not wait for them. */
static void ask_for_keys(struct connection *c, const struct wire_message *message)
{
    bool missing = false;
    if (!c->replica->keys)
        return;
    for (size_t i = 0; i < message->count; i++)
        missing = vault_misses(c->replica->options.vault, message->records[i].body) || missing;
    if (missing)
        key_copy_ask(c->replica->keys);
}

static bool take_records(struct connection *c, struct wire_message *message)
{
    uint64_t first = message->records[0].position;
    ask_for_keys(c, message);
    int r = journal_replicate(c->journal, message->records, message->count, &message->chain);
    switch (r) {
    case 0: set_state(c->replica, REPLICA_FOLLOWING, ""); return true;
    case JOURNAL_E_DIVERGED:
        return refuse(
            c, REPLICA_PARTED,
            "the journals have parted: what the leader sent from %llu on does not continue this one",
            (unsigned long long)first);
    case JOURNAL_E_FULL: return refuse(c, REPLICA_STALLED, "no room on this disk");
    case -EBADMSG:
        return refuse(c, REPLICA_FAILED, "a record from %llu on cannot be read by this daybook",
                      (unsigned long long)first);
    case -ENOMEM: return refuse(c, REPLICA_WAITING, "no memory");
    default: {
        struct journal_status status;
        journal_status(c->journal, &status);
        return refuse(c, REPLICA_FAILED, "this journal takes no records: %.200s",
                      status.reason[0] ? status.reason
                      : r < 0          ? strerror(-r)
                                       : "the write failed");
    }
    }
}

static bool take_message(struct connection *c, struct wire_message *message)
{
    switch (message->kind) {
    case WIRE_HELLO: return take_hello(c, message);
    case WIRE_RECORDS: return take_records(c, message);
    case WIRE_HEARTBEAT: return true;
    }
    return false;
}

/* Everything that is complete. false: this connection is over. */
static bool take_all(struct connection *c, uint64_t byte_count)
{
    struct wire_message message;
    int r;
    while ((r = wire_decoder_next(c->decoder, &message)) == 0) {
        if (!take_message(c, &message))
            return false;
        if (c->replica)
            note_heard(c->replica, os_monotonic_ns(), byte_count, message.count, message.head);
        byte_count = 0;
    }
    switch (r) {
    case WIRE_E_MORE: return true;
    case WIRE_E_NEWER: return refuse(c, REPLICA_FAILED, "%s", wire_decoder_error(c->decoder));
    case WIRE_E_INVALID:
        return refuse(c, REPLICA_WAITING, "the leader sent rubbish: %s", wire_decoder_error(c->decoder));
    default: return refuse(c, REPLICA_WAITING, "%s", strerror(-r));
    }
}

/* A problem in words; what does not fit is not needed. */
static size_t take_problem(struct connection *c, struct bytes words)
{
    size_t size = sizeof(c->problem) - 1 - c->problem_size;
    size = words.size < size ? words.size : size;
    memcpy(c->problem + c->problem_size, words.data, size);
    c->problem_size += size;
    return words.size;
}

static size_t on_bytes(char *data, size_t size, size_t count, void *user)
{
    struct connection *c = (struct connection *)user;
    long status = 0;
    (void)curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &status);
    if (status != 200)
        return take_problem(c, bytes_make(data, size * count));
    c->heard_ns = os_monotonic_ns();
    if (wire_decoder_feed(c->decoder, bytes_make(data, size * count)) < 0) {
        (void)refuse(c, REPLICA_WAITING, "no memory");
        return CURL_WRITEFUNC_ERROR;
    }
    return take_all(c, size * count) ? size * count : CURL_WRITEFUNC_ERROR;
}

/* --- one connection ------------------------------------------------------------------------------------------------------------ */

/* Everything curl must know; `headers` is freed after the connection. */
static bool set_up(struct connection *c, const char *url, const char *token, uint64_t after,
                   struct curl_slist **headers)
{
    const struct leader_call call = {.url = url,
                                     .token = token,
                                     .path = "/v1/log",
                                     .after = after,
                                     .accept = WIRE_MEDIA_TYPE,
                                     .on_bytes = on_bytes,
                                     .user = c,
                                     .error = c->curl_error};
    return leader_call_set_up(&call, c->curl, headers);
}

static bool is_silent(struct connection *c)
{
    uint64_t now_ns = os_monotonic_ns();
    uint64_t limit_ns = c->said_hello ? c->silence_ns : REPLICA_CONNECT_MS_MAX * OS_NS_PER_MS;
    if (!c->said_hello && c->silence_ns < limit_ns)
        limit_ns = c->silence_ns;
    c->timed_out = now_ns - c->heard_ns > limit_ns;
    return c->timed_out;
}

/* Until the transfer ends, the leader falls silent, or `stop`. The transfer's end, or CURLE_ABORTED_BY_CALLBACK. */
static CURLcode transfer(struct connection *c, CURLM *multi, const atomic_bool *stop)
{
    for (;;) {
        int running = 0, left = 0;
        if (curl_multi_perform(multi, &running) != CURLM_OK)
            return CURLE_FAILED_INIT;
        const CURLMsg *message = curl_multi_info_read(multi, &left);
        if (message && message->msg == CURLMSG_DONE)
            return message->data.result;
        if ((stop && atomic_load(stop)) || is_silent(c))
            return CURLE_ABORTED_BY_CALLBACK;
        uint64_t wait_ms = c->silence_ns / OS_NS_PER_MS / 4;
        (void)curl_multi_poll(multi, NULL, 0, wait_ms < POLL_MS ? (int)wait_ms : POLL_MS, NULL);
    }
}

/* The leader answered, but not with its log. */
static void explain_refusal(struct connection *c, long status)
{
    if (status == 409 && strstr(c->problem, "\"beyond-head\""))
        (void)refuse(c, REPLICA_PARTED, "the journals have parted: the leader's ends before this copy");
    else if (status == 409 && strstr(c->problem, "\"other-journal\""))
        (void)refuse(c, REPLICA_PARTED, "the leader holds another journal");
    else if (status == 401 || status == 403)
        (void)refuse(c, REPLICA_STALLED, "the leader refuses this follower's token: status %ld", status);
    else
        (void)refuse(c, status < 500 && status != 429 ? REPLICA_STALLED : REPLICA_WAITING,
                     "the leader answered with status %ld", status);
}

/* Say why it ended, unless what came in has said so. */
static void explain(struct connection *c, CURLcode code)
{
    long status = 0;
    (void)curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &status);
    if (c->reason[0] != '\0' || (c->said_hello && !c->replica))
        return;
    if (status != 0 && status != 200)
        explain_refusal(c, status);
    else if (c->timed_out)
        (void)refuse(c, REPLICA_WAITING, "the leader was silent for too long");
    else if (code == CURLE_OK)
        (void)refuse(c, REPLICA_WAITING, "the leader ended the connection");
    else
        (void)refuse(c, REPLICA_WAITING, "the leader cannot be reached: %.180s",
                     c->curl_error[0] ? c->curl_error : curl_easy_strerror(code));
}

/* Connect, take what comes, until it ends. c->verdict and c->reason say how. */
static void run(struct connection *c, CURLM *multi, const char *url, const char *token, uint64_t after,
                const atomic_bool *stop)
{
    struct curl_slist *headers = NULL;
    c->verdict = REPLICA_WAITING;
    c->heard_ns = os_monotonic_ns();
    c->curl = curl_easy_init();
    if (!c->curl || wire_decoder_new(&c->decoder) < 0 || !set_up(c, url, token, after, &headers)) {
        (void)refuse(c, REPLICA_WAITING, "no memory for a connection");
    } else if (curl_multi_add_handle(multi, c->curl) == CURLM_OK) {
        CURLcode code = transfer(c, multi, stop);
        explain(c, code);
        (void)curl_multi_remove_handle(multi, c->curl);
    }
    if (!c->said_hello)
        report(c, stop && atomic_load(stop) ? BREAKER_NEUTRAL
                  : c->timed_out            ? BREAKER_TIMEOUT
                                            : BREAKER_FAILURE);
    curl_easy_cleanup(c->curl);
    curl_slist_free_all(headers);
    wire_decoder_free(c->decoder);
}

/* --- the thread ------------------------------------------------------------------------------------------------------------------- */

static void wait_ms(struct replica *replica, uint64_t ms)
{
    uint64_t deadline_ns = os_monotonic_ns() + ms * OS_NS_PER_MS, now_ns;
    while (!atomic_load(&replica->stop) && (now_ns = os_monotonic_ns()) < deadline_ns) {
        uint64_t left_ms = (deadline_ns - now_ns) / OS_NS_PER_MS + 1;
        (void)curl_multi_poll(replica->multi, NULL, 0, left_ms < POLL_MS ? (int)left_ms : POLL_MS, NULL);
    }
}

/* Doubled with every failure in a row; between half of it and all of it, so that followers do not come back in step. */
static uint64_t backoff_ms(unsigned failures)
{
    uint64_t ms = REPLICA_BACKOFF_MS_MAX, chance = 0;
    if (failures < 6 && (uint64_t)REPLICA_BACKOFF_MS_MIN << failures < REPLICA_BACKOFF_MS_MAX)
        ms = (uint64_t)REPLICA_BACKOFF_MS_MIN << failures;
    if (os_random(&chance, sizeof(chance)) < 0)
        chance = os_monotonic_ns();
    return ms / 2 + chance % (ms / 2 + 1);
}

/* One attempt, if the breaker lets it through. ret_connected: the leader was one. */
static enum replica_state follow_once(struct replica *replica, bool *ret_connected)
{
    struct breaker_permit permit;
    *ret_connected = false;
    if (breaker_acquire(&replica->breaker, breaker_clock(), 0, &permit) != 0) {
        wait_ms(replica, breaker_retry_after(&replica->breaker, breaker_clock()) / OS_NS_PER_MS + 1);
        return REPLICA_CONNECTING;
    }
    struct connection c = {
        .replica = replica,
        .journal = replica->options.journal,
        .permit = &permit,
        .breaker = &replica->breaker,
        .silence_ns = replica->options.silence_ms_max * OS_NS_PER_MS,
    };
    os_mutex_lock(&replica->mutex);
    replica->status.connects++;
    os_mutex_unlock(&replica->mutex);
    run(&c, replica->multi, replica->url, replica->token, journal_tail(c.journal), &replica->stop);
    *ret_connected = c.said_hello;
    if (atomic_load(&replica->stop))
        return REPLICA_WAITING;
    os_mutex_lock(&replica->mutex);
    replica->status.failures++;
    os_mutex_unlock(&replica->mutex);
    set_state(replica, c.verdict, c.reason);
    return c.verdict;
}

static void follow(void *user)
{
    struct replica *replica = (struct replica *)user;
    unsigned failures = 0;
    while (!atomic_load(&replica->stop)) {
        bool connected;
        enum replica_state end = follow_once(replica, &connected);
        if (end == REPLICA_PARTED || end == REPLICA_FAILED)
            return; /* R2 */
        if (end == REPLICA_CONNECTING)
            continue;
        failures = connected ? 0 : failures + 1;
        wait_ms(replica, backoff_ms(failures));
    }
}

/* --- life ----------------------------------------------------------------------------------------------------------------------------- */

/* http://HOST… or https://HOST…, without a path of its own; or unix:PATH. */
static int copy_url(const char *url, char **ret_url, char *ret_error)
{
    size_t scheme = strncmp(url, "http://", 7) == 0    ? 7
                    : strncmp(url, "https://", 8) == 0 ? 8
                                                       : 0,
           size = strlen(url);
    if (strncmp(url, LEADER_UNIX_PREFIX, strlen(LEADER_UNIX_PREFIX)) == 0 && size > strlen(LEADER_UNIX_PREFIX) && size <= LEADER_UNIX_SIZE_MAX)
        return (*ret_url = strdup(url)) ? 0 : -ENOMEM;
    while (size > scheme && url[size - 1] == '/')
        size--;
    if (scheme == 0 || size == scheme || size > 1024 || memchr(url + scheme, '/', size - scheme) ||
        strpbrk(url, " \t\r\n?#@")) {
        (void)snprintf(ret_error, REPLICA_ERROR_SIZE,
                       "'%.100s' is no leader's address: http://HOST:PORT or unix:PATH is expected", url);
        return REPLICA_E_URL;
    }
    *ret_url = bytes_dup_string(bytes_make(url, size));
    return *ret_url ? 0 : -ENOMEM;
}

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void init_curl(void)
{
    (void)curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* A region of its own, with one breaker: "leader". */
static int make_breaker(struct replica *replica, char *ret_error)
{
    struct breaker_region_options options = {.struct_size = sizeof(options), .breakers = 1, .shards = 2};
    struct breaker_config config;
    struct breaker_problem problem = {.message = ""};
    size_t size = breaker_region_size(&options);
    const char *rules = replica->options.breaker ? replica->options.breaker : BREAKER_RULES_DEFAULT;
    replica->region_memory = aligned_alloc(64, (size + 63) / 64 * 64);
    if (!replica->region_memory)
        return -ENOMEM;
    breaker_config_init(&config);
    int r = breaker_config_parse(&config, rules, &problem);
    if (r == 0)
        r = breaker_region_init(replica->region_memory, size, &options);
    if (r == 0)
        r = breaker_region_attach(&replica->region, replica->region_memory, size, 1, 0);
    if (r == 0)
        r = breaker_get(&replica->region, "leader", &config, breaker_clock(), &replica->breaker, &problem);
    if (r == 0)
        return 0;
    (void)snprintf(ret_error, REPLICA_ERROR_SIZE, "the leader's breaker: %s",
                   problem.message[0] ? problem.message : breaker_answer_text(r));
    return -EINVAL;
}

/* All but the thread. */
static int prepare(const struct replica_options *options, struct replica **ret_replica, char *ret_error)
{
    struct replica *replica = calloc(1, sizeof(*replica));
    if (!replica)
        return -ENOMEM;
    (void)pthread_once(&curl_once, init_curl);
    replica->options = *options;
    if (replica->options.silence_ms_max == 0)
        replica->options.silence_ms_max = REPLICA_SILENCE_MS_MAX;
    os_mutex_init(&replica->mutex);
    replica->token = options->token ? strdup(options->token) : NULL;
    replica->multi = curl_multi_init();
    int r = copy_url(options->url, &replica->url, ret_error);
    if (r == 0 && (!replica->multi || (options->token && !replica->token)))
        r = -ENOMEM;
    replica->status.first_head = UINT64_MAX;
    if (r == 0)
        r = make_breaker(replica, ret_error);
    if (r != 0) {
        replica_stop(replica);
        return r;
    }
    *ret_replica = replica;
    return 0;
}

static int start_keys(struct replica *replica)
{
    const struct key_copy_options options = {.vault = replica->options.vault,
                                             .url = replica->url,
                                             .token = replica->token,
                                             .breaker = &replica->breaker};
    return options.vault ? key_copy_start(&options, &replica->keys) : 0;
}

int replica_start(const struct replica_options *options, struct replica **ret_replica, char *ret_error)
{
    struct replica *replica = NULL;
    int r = prepare(options, &replica, ret_error);
    if (r != 0)
        return r;
    r = start_keys(replica);
    if (r == 0)
        r = os_thread_start(&replica->thread, "replica", follow, replica);
    if (r < 0) {
        replica_stop(replica);
        return r;
    }
    *ret_replica = replica;
    return 0;
}

/* Asks until the leader has said who it is, the breaker lets nothing more through, or the time is over. */
static bool ask_until(struct replica *asking, uint32_t timeout_ms, struct journal_id *ret_id, char *ret_error)
{
    uint64_t deadline_ns = os_monotonic_ns() + timeout_ms * OS_NS_PER_MS;
    for (unsigned failures = 0;; failures++) {
        struct breaker_permit permit;
        uint64_t pause_ms = backoff_ms(failures);
        if (breaker_acquire(&asking->breaker, breaker_clock(), 0, &permit) == 0) {
            struct connection c = {
                .permit = &permit, .breaker = &asking->breaker, .silence_ns = timeout_ms * OS_NS_PER_MS};
            run(&c, asking->multi, asking->url, asking->token, 0, NULL);
            *ret_id = c.id;
            if (c.said_hello)
                return true;
            (void)snprintf(ret_error, REPLICA_ERROR_SIZE, "%s", c.reason);
        } else {
            pause_ms = breaker_retry_after(&asking->breaker, breaker_clock()) / OS_NS_PER_MS + 1;
        }
        if (os_monotonic_ns() + pause_ms * OS_NS_PER_MS >= deadline_ns)
            return false;
        wait_ms(asking, pause_ms);
    }
}

int replica_ask_leader(const char *url, const char *token, uint32_t timeout_ms, struct journal_id *ret_id,
                       char *ret_error)
{
    struct replica_options options = {.url = url, .token = token};
    struct replica *asking = NULL;
    struct journal_id id;
    int r = prepare(&options, &asking, ret_error);
    if (r != 0)
        return r;
    r = ask_until(asking, timeout_ms, &id, ret_error) ? 0 : REPLICA_E_UNREACHABLE;
    if (r == 0)
        *ret_id = id;
    replica_stop(asking);
    return r;
}

void replica_stop(struct replica *replica)
{
    if (!replica)
        return;
    atomic_store(&replica->stop, true);
    if (replica->multi)
        (void)curl_multi_wakeup(replica->multi);
    os_thread_join(&replica->thread);
    key_copy_stop(replica->keys);
    if (replica->multi)
        (void)curl_multi_cleanup(replica->multi);
    breaker_region_detach(&replica->region);
    free(replica->region_memory);
    os_mutex_deinit(&replica->mutex);
    free(replica->url);
    free(replica->token);
    free(replica);
}
