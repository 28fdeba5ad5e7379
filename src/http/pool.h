#pragma once

/*
 * pool: a few threads that run tasks from one bounded queue, for handlers that wait for disk or locks. What is in the
 * queue when the pool ends is still run: every task runs exactly once.
 */

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct http_task;

struct pool {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct http_task *first, **last;
    uint64_t count, count_max;
    bool ending;
    pthread_t *threads;
    size_t thread_count;
};

enum { POOL_E_FULL = 1, /* the queue is full */ POOL_E_ENDING };

/* Start the threads, with all signals blocked. 0, -ENOMEM, -EAGAIN. */
int pool_init(struct pool *pool, size_t thread_count, uint64_t queue_count_max);
/* Let the queue run out, then end the threads. A pool that is all zero is fine. */
void pool_deinit(struct pool *pool);
/* Any thread. Not 0: the task was not taken. */
int pool_submit(struct pool *pool, struct http_task *task);
uint64_t pool_queue_count(struct pool *pool);
