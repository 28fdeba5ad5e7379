#include "os/thread.h"

#include <assert.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/cleanup.h"
#include "os/clock.h"

enum { STAND_BACK_NICENESS = 19 };

struct start {
    char name[OS_THREAD_NAME_SIZE_MAX];
    void (*run)(void *user);
    void *user;
};

static void *begin(void *start_pointer)
{
    struct start start = *(struct start *)start_pointer;

    free(start_pointer);
    (void)pthread_setname_np(pthread_self(), start.name);
    start.run(start.user);
    return NULL;
}

/* The new thread inherits the mask of its maker, who takes his own back. */
static int create_without_signals(pthread_t *handle, struct start *start)
{
    sigset_t all, before;
    int r;

    (void)sigfillset(&all);
    r = pthread_sigmask(SIG_SETMASK, &all, &before);
    assert(r == 0);
    r = pthread_create(handle, NULL, begin, start);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -r;
}

int os_thread_start(struct os_thread *thread, const char *name, void (*run)(void *user), void *user)
{
    _cleanup_(freep) struct start *start = calloc(1, sizeof(*start));
    int r;

    if (!start)
        return -ENOMEM;
    memcpy(start->name, name, strnlen(name, sizeof(start->name) - 1));
    start->run = run;
    start->user = user;
    r = create_without_signals(&thread->handle, start);
    if (r < 0)
        return r;
    (void)take_ptr(start);
    thread->started = true;
    return 0;
}

void os_thread_join(struct os_thread *thread)
{
    int r;

    if (!thread->started)
        return;
    r = pthread_join(thread->handle, NULL);
    assert(r == 0);
    thread->started = false;
}

void os_thread_stand_back(void)
{
    (void)setpriority(PRIO_PROCESS, 0, STAND_BACK_NICENESS); /* on Linux: of this thread alone. Refused, no harm is done */
}

void os_mutex_init(struct os_mutex *mutex)
{
    int r = pthread_mutex_init(&mutex->handle, NULL);

    assert(r == 0);
}

void os_mutex_deinit(struct os_mutex *mutex)
{
    int r = pthread_mutex_destroy(&mutex->handle);

    assert(r == 0); /* nobody holds it */
}

void os_mutex_lock(struct os_mutex *mutex)
{
    int r = pthread_mutex_lock(&mutex->handle);

    assert(r == 0);
}

void os_mutex_unlock(struct os_mutex *mutex)
{
    int r = pthread_mutex_unlock(&mutex->handle);

    assert(r == 0);
}

void os_rwlock_init(struct os_rwlock *lock)
{
    pthread_rwlockattr_t attributes;
    int r = pthread_rwlockattr_init(&attributes);

    r = error_first(
        r, pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP));
    r = error_first(r, pthread_rwlock_init(&lock->handle, &attributes));
    assert(r == 0);
    (void)pthread_rwlockattr_destroy(&attributes);
}

void os_rwlock_deinit(struct os_rwlock *lock)
{
    int r = pthread_rwlock_destroy(&lock->handle);

    assert(r == 0);
}

void os_rwlock_read(struct os_rwlock *lock)
{
    int r = pthread_rwlock_rdlock(&lock->handle);

    assert(r == 0);
}

void os_rwlock_write(struct os_rwlock *lock)
{
    int r = pthread_rwlock_wrlock(&lock->handle);

    assert(r == 0);
}

void os_rwlock_unlock(struct os_rwlock *lock)
{
    int r = pthread_rwlock_unlock(&lock->handle);

    assert(r == 0);
}

void os_cond_init(struct os_cond *cond)
{
    pthread_condattr_t attributes;
    int r = pthread_condattr_init(&attributes);

    r = error_first(r, pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC));
    r = error_first(r, pthread_cond_init(&cond->handle, &attributes));
    assert(r == 0);
    (void)pthread_condattr_destroy(&attributes);
}

void os_cond_deinit(struct os_cond *cond)
{
    int r = pthread_cond_destroy(&cond->handle);

    assert(r == 0);
}

void os_cond_wait(struct os_cond *cond, struct os_mutex *mutex)
{
    int r = pthread_cond_wait(&cond->handle, &mutex->handle);

    assert(r == 0);
}

bool os_cond_wait_until(struct os_cond *cond, struct os_mutex *mutex, uint64_t deadline_ns)
{
    struct timespec deadline = {.tv_sec = (time_t)(deadline_ns / OS_NS_PER_SECOND),
                                .tv_nsec = (long)(deadline_ns % OS_NS_PER_SECOND)};
    int r = pthread_cond_timedwait(&cond->handle, &mutex->handle, &deadline);

    assert(r == 0 || r == ETIMEDOUT);
    return r == 0;
}

void os_cond_signal(struct os_cond *cond)
{
    int r = pthread_cond_signal(&cond->handle);

    assert(r == 0);
}

void os_cond_broadcast(struct os_cond *cond)
{
    int r = pthread_cond_broadcast(&cond->handle);

    assert(r == 0);
}
