/* The way in: what can be said of an append at once, the queue, and waiting for the end. */

#include <stdio.h>

#include "journal/ready.h"
#include "journal/state.h"
#include "journal/validate.h"

static int check_alone(struct journal *journal, const struct journal_append *append,
                       struct journal_result *result)
{
    if (!journal_is_writable(journal, result->detail))
        return JOURNAL_E_READ_ONLY;
    if (journal->options.follower) {
        snprintf(result->detail, sizeof(result->detail), "this journal follows another one");
        return JOURNAL_E_READ_ONLY;
    }
    result->detail[0] = 0;
    if (append->prepare)
        return 0;
    if (append->event_count == 0) {
        snprintf(result->detail, sizeof(result->detail), "an append has at least one event");
        return JOURNAL_E_INVALID;
    }
    return validate_append(append, result);
}

static int enqueue(struct journal *journal, struct journal_append *append, struct journal_result *result)
{
    int r = 0;
    ready_make(append);
    os_mutex_lock(&journal->queue_lock);
    if (journal->closing) {
        snprintf(result->detail, sizeof(result->detail), "the journal is closing");
        r = JOURNAL_E_READ_ONLY;
    } else if (journal->queue_count >= JOURNAL_QUEUE_COUNT_MAX) {
        snprintf(result->detail, sizeof(result->detail), "%d appends are waiting already",
                 JOURNAL_QUEUE_COUNT_MAX);
        r = JOURNAL_E_BUSY;
    } else {
        append_list_push(&journal->queue, append);
        journal->queue_count++;
        journal->queue_weight += journal_append_weight(append);
        if (!journal->writing) {
            os_cond_signal(&journal->queue_filled);
        } else if (journal->wants_queue && journal->queue_weight >= JOURNAL_AHEAD_WEIGHT_MIN) {
            journal->wants_queue = false;
            os_cond_signal(&journal->landed);
        }
    }
    os_mutex_unlock(&journal->queue_lock);
    if (r != 0)
        ready_free(append);
    return r;
}

int journal_submit(struct journal *journal, struct journal_append *append, struct journal_result *ret_result)
{
    struct journal_result result = {0};
    int r = check_alone(journal, append, &result);
    if (r == 0)
        r = enqueue(journal, append, &result);
    result.answer = r;
    if (r != 0 && ret_result)
        *ret_result = result;
    return r;
}

struct waiting {
    struct os_mutex lock;
    struct os_cond ended;
    bool done;
    struct journal_result result;
    void (*done_before)(struct journal_append *append, const struct journal_result *result);
    void *user_before;
};

static void wake(struct journal_append *append, const struct journal_result *result)
{
    struct waiting *waiting = append->user;
    append->done = waiting->done_before;
    append->user = waiting->user_before;
    if (append->done)
        append->done(append, result);
    os_mutex_lock(&waiting->lock);
    waiting->result = *result;
    waiting->result.streams = NULL;
    waiting->result.conflicts = NULL;
    waiting->result.stream_count = waiting->result.conflict_count = 0;
    waiting->done = true;
    os_cond_signal(&waiting->ended);
    os_mutex_unlock(&waiting->lock);
}

/* On this thread if nobody else is writing, else through the queue. */
static int submit_here(struct journal *journal, struct journal_append *append, struct journal_result *result)
{
    int r = check_alone(journal, append, result);
    append->ready = NULL;
    if (r == 0 && !journal_write_here(journal, append))
        r = enqueue(journal, append, result);
    result->answer = r;
    return r;
}

int journal_append_wait(struct journal *journal, struct journal_append *append,
                        struct journal_result *ret_result)
{
    struct waiting waiting = {.done_before = append->done, .user_before = append->user};
    struct journal_result refused = {0};
    os_mutex_init(&waiting.lock);
    os_cond_init(&waiting.ended);
    append->done = wake;
    append->user = &waiting;
    if (submit_here(journal, append, &refused) == 0) {
        os_mutex_lock(&waiting.lock);
        while (!waiting.done)
            os_cond_wait(&waiting.ended, &waiting.lock);
        os_mutex_unlock(&waiting.lock);
    } else {
        append->done = waiting.done_before;
        append->user = waiting.user_before;
        waiting.result = refused;
    }
    os_cond_deinit(&waiting.ended);
    os_mutex_deinit(&waiting.lock);
    if (ret_result)
        *ret_result = waiting.result;
    return waiting.result.answer;
}
