#pragma once

/*
 * Threads with names, locks, and conditions that wait by the monotonic clock. The pthread calls that can only fail
 * through an error of the program are asserted here, so that callers need not look.
 */

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

#define OS_THREAD_NAME_SIZE_MAX 16 /* with the NUL: the kernel's limit */

struct os_thread {
    pthread_t handle;
    bool started;
};

/* Starts a thread that runs run(user), is called `name` (cut to 15 bytes) in ps and gdb, and receives no signals:
 * those are the main thread's. 0 or -errno. */
_must_check_ int os_thread_start(struct os_thread *thread, const char *name, void (*run)(void *user),
                                 void *user);

/* Waits for its end. Nothing happens when it was not started, or was joined before. */
void os_thread_join(struct os_thread *thread);

/* The calling thread lets all others go first: for work that is not urgent. */
void os_thread_stand_back(void);

struct os_mutex {
    pthread_mutex_t handle;
};

#define OS_MUTEX_INIT                                                                                        \
    {                                                                                                        \
        .handle = PTHREAD_MUTEX_INITIALIZER                                                                  \
    }

void os_mutex_init(struct os_mutex *mutex);
void os_mutex_deinit(struct os_mutex *mutex);
void os_mutex_lock(struct os_mutex *mutex);
void os_mutex_unlock(struct os_mutex *mutex);

/* Holds a lock to the end of the scope: _os_locked_(&journal->mutex); */
static inline void os_mutex_unlockp(struct os_mutex **mutex)
{
    os_mutex_unlock(*mutex);
}
#define OS_LOCKED_NAME(line)  OS_LOCKED_NAME2(line)
#define OS_LOCKED_NAME2(line) os_locked_##line
#define _os_locked_(mutex)                                                                                   \
    __attribute__((cleanup(os_mutex_unlockp), unused)) struct os_mutex *OS_LOCKED_NAME(__LINE__) =           \
        (os_mutex_lock(mutex), (mutex))

/* Many readers or one writer. A writer that waits goes before readers that come later, so that they cannot starve it;
 * a reader must therefore not take it twice. */
struct os_rwlock {
    pthread_rwlock_t handle;
};

void os_rwlock_init(struct os_rwlock *lock);
void os_rwlock_deinit(struct os_rwlock *lock);
void os_rwlock_read(struct os_rwlock *lock);
void os_rwlock_write(struct os_rwlock *lock);
void os_rwlock_unlock(struct os_rwlock *lock);

struct os_cond {
    pthread_cond_t handle;
};

void os_cond_init(struct os_cond *cond);
void os_cond_deinit(struct os_cond *cond);
void os_cond_wait(struct os_cond *cond, struct os_mutex *mutex);
/* Until os_monotonic_ns() reaches the deadline; false when it has. Wakes early now and then, as all conditions do. */
bool os_cond_wait_until(struct os_cond *cond, struct os_mutex *mutex, uint64_t deadline_ns);
void os_cond_signal(struct os_cond *cond);
void os_cond_broadcast(struct os_cond *cond);
