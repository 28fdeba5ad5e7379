#include "http/pool.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>

#include "http/http.h"

static struct http_task *pool_take(struct pool *pool)
{
    struct http_task *task;

    pthread_mutex_lock(&pool->lock);
    while (!pool->first && !pool->ending)
        pthread_cond_wait(&pool->wake, &pool->lock);
    task = pool->first;
    if (task) {
        pool->first = task->next;
        if (!pool->first)
            pool->last = &pool->first;
        pool->count--;
    }
    pthread_mutex_unlock(&pool->lock);
    return task;
}

static void *pool_thread(void *argument)
{
    struct pool *pool = argument;
    struct http_task *task;

    while ((task = pool_take(pool)))
        task->run(task);
    return NULL;
}

int pool_init(struct pool *pool, size_t thread_count, uint64_t queue_count_max)
{
    sigset_t all, before;
    int r = 0;

    *pool = (struct pool){.count_max = queue_count_max};
    pool->last = &pool->first;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pool->threads = calloc(thread_count, sizeof(*pool->threads));
    if (!pool->threads)
        return -ENOMEM;
    /* Signals are the main thread's affair. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (; r == 0 && pool->thread_count < thread_count; pool->thread_count += r == 0)
        r = -pthread_create(&pool->threads[pool->thread_count], NULL, pool_thread, pool);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (r != 0)
        pool_deinit(pool);
    return r;
}

void pool_deinit(struct pool *pool)
{
    if (!pool->threads)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->ending = true;
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
    for (size_t i = 0; i < pool->thread_count; i++)
        pthread_join(pool->threads[i], NULL);
    free(pool->threads);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->lock);
    *pool = (struct pool){0};
}

int pool_submit(struct pool *pool, struct http_task *task)
{
    int answer = 0;

    pthread_mutex_lock(&pool->lock);
    if (pool->ending) {
        answer = POOL_E_ENDING;
    } else if (pool->count >= pool->count_max) {
        answer = POOL_E_FULL;
    } else {
        task->next = NULL;
        *pool->last = task;
        pool->last = &task->next;
        pool->count++;
        pthread_cond_signal(&pool->wake);
    }
    pthread_mutex_unlock(&pool->lock);
    return answer;
}

uint64_t pool_queue_count(struct pool *pool)
{
    uint64_t count;

    pthread_mutex_lock(&pool->lock);
    count = pool->count;
    pthread_mutex_unlock(&pool->lock);
    return count;
}
