/*
 * Threads are real ones, so that debuggers and sanitizers know them, but each waits for its turn on a semaphore of its
 * own and exactly one has it. A thread that must wait is marked with the address it waits for; who lets a lock go or
 * signals a condition marks those waiting for that address as ready. Threads that have ended are kept for the next start.
 */
#include "sim/scheduler.h"

#include <assert.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "os/clock.h"
#include "os/random.h"
#include "os/thread.h"

enum {
    TASK_COUNT_MAX = 32,
    SWITCH_ONCE_IN = 6,    /* steps at which another thread may be chosen */
    SPURIOUS_ONCE_IN = 97, /* steps at which somebody wakes from a condition for no reason */
    STEP_NS = 400,
};

#define NO_DEADLINE UINT64_MAX
#define WORLD_BEGIN INT64_C(1767225600000000) /* 2026-01-01, in microseconds */

enum task_state { TASK_FREE, TASK_READY, TASK_WAITING };

struct task {
    enum task_state state;
    bool has_thread, timed_out, in_cond;
    char name[OS_THREAD_NAME_SIZE_MAX];
    void (*run)(void *user);
    void *user;
    const void *waits_for;
    uint64_t deadline_ns;
    sem_t turn;
};

static struct {
    struct task tasks[TASK_COUNT_MAX]; /* [0]: who called scheduler_begin() */
    struct task *current;
    uint64_t seed, dice, trace, now_ns;
    int64_t wall_us; /* the wall clock at now_ns == 0 */
    bool verbose, semaphores;
} world;

/* ---- chance and the trace ---- */

static uint64_t roll(void)
{
    world.dice ^= world.dice >> 12;
    world.dice ^= world.dice << 25;
    world.dice ^= world.dice >> 27;
    return world.dice * UINT64_C(0x2545f4914f6cdd1d); /* xorshift64*, Vigna 2016 */
}

uint32_t scheduler_dice(uint32_t sides)
{
    return (uint32_t)(roll() >> 33) % sides;
}

void scheduler_trace(uint64_t value)
{
    world.trace = (world.trace ^ value) * UINT64_C(0x100000001b3);
    world.trace ^= world.trace >> 29;
}

void scheduler_note(const char *format, ...)
{
    char text[512];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    for (const char *c = text; *c; c++)
        scheduler_trace((uint8_t)*c);
    if (world.verbose)
        printf("%10.3f ms  %-14s %s\n", (double)world.now_ns / 1e6, world.current->name, text);
}

void scheduler_fail(const char *format, ...)
{
    va_list arguments;

    (void)fflush(stdout);
    (void)fprintf(stderr, "broken at %.3f ms, in %s: ", (double)world.now_ns / 1e6, world.current->name);
    va_start(arguments, format);
    (void)vfprintf(stderr, format, arguments);
    va_end(arguments);
    (void)fprintf(stderr, "\nagain: sim --seed %llu -v\n", (unsigned long long)world.seed);
    _exit(1);
}

/* ---- whose turn it is ---- */

static bool may_run(const struct task *task)
{
    return task->state == TASK_READY || (task->state == TASK_WAITING && task->deadline_ns <= world.now_ns);
}

static _Noreturn void fail_deadlock(void)
{
    for (const struct task *task = world.tasks; task < world.tasks + TASK_COUNT_MAX; task++) {
        if (task->state == TASK_WAITING)
            (void)fprintf(stderr, "%s waits for %p\n", task->name, task->waits_for);
    }
    scheduler_fail("every thread waits for another");
}

/* Nobody can go on before some deadline: it is that time now. */
static void jump_to_deadline(void)
{
    uint64_t next = NO_DEADLINE;

    for (const struct task *task = world.tasks; task < world.tasks + TASK_COUNT_MAX; task++) {
        if (task->state == TASK_WAITING && task->deadline_ns < next)
            next = task->deadline_ns;
    }
    if (next == NO_DEADLINE)
        fail_deadlock();
    world.now_ns = next;
}

static struct task *choose(void)
{
    struct task *ready[TASK_COUNT_MAX];
    uint32_t count = 0;

    for (;;) {
        for (struct task *task = world.tasks; task < world.tasks + TASK_COUNT_MAX; task++) {
            if (may_run(task))
                ready[count++] = task;
        }
        if (count > 0)
            return ready[count > 1 ? scheduler_dice(count) : 0];
        jump_to_deadline();
    }
}

static void wait_turn(struct task *task)
{
    while (sem_wait(&task->turn) != 0)
        continue;
    assert(world.current == task);
}

/* Hands the turn over and comes back when it is ours again; with `leave`, does not wait for that. */
static void hand_over(bool leave)
{
    struct task *self = world.current, *next = choose();

    if (next->state == TASK_WAITING) {
        next->timed_out = true;
        next->state = TASK_READY;
    }
    scheduler_trace((uint64_t)(next - world.tasks));
    if (next == self)
        return;
    world.current = next;
    (void)sem_post(&next->turn);
    if (!leave)
        wait_turn(self);
}

/* False when the deadline came first. */
static bool wait_for(const void *what, uint64_t deadline_ns, bool in_cond)
{
    struct task *self = world.current;

    self->state = TASK_WAITING;
    self->waits_for = what;
    self->deadline_ns = deadline_ns;
    self->timed_out = false;
    self->in_cond = in_cond;
    hand_over(false);
    self->waits_for = NULL;
    return !self->timed_out;
}

/* Marks one of those who wait for `what`, by chance, or all of them. */
static void wake(const void *what, bool all)
{
    struct task *waiting[TASK_COUNT_MAX];
    uint32_t count = 0;

    for (struct task *task = world.tasks; task < world.tasks + TASK_COUNT_MAX; task++) {
        if (task->state == TASK_WAITING && task->waits_for == what)
            waiting[count++] = task;
    }
    if (count == 0)
        return;
    if (!all)
        waiting[0] = waiting[count > 1 ? scheduler_dice(count) : 0];
    for (uint32_t i = 0; i < (all ? count : 1); i++)
        waiting[i]->state = TASK_READY;
}

static void wake_without_reason(void)
{
    struct task *task = &world.tasks[scheduler_dice(TASK_COUNT_MAX)];

    if (task->state == TASK_WAITING && task->in_cond)
        task->state = TASK_READY;
}

void scheduler_step(uint64_t ns)
{
    world.now_ns += ns;
    if (scheduler_chance(SPURIOUS_ONCE_IN))
        wake_without_reason();
    if (scheduler_chance(SWITCH_ONCE_IN))
        hand_over(false);
}

void scheduler_sleep(uint64_t ns)
{
    (void)wait_for(NULL, world.now_ns + ns, false);
}

void scheduler_shift_clock(int64_t us)
{
    world.wall_us += us;
}

void scheduler_begin(uint64_t seed, bool verbose)
{
    for (struct task *task = world.tasks; !world.semaphores && task < world.tasks + TASK_COUNT_MAX; task++)
        (void)sem_init(&task->turn, 0, 0);
    world.semaphores = true;
    world.seed = seed;
    world.dice = (seed + 1) * UINT64_C(0x9e3779b97f4a7c15) | 1;
    world.trace = UINT64_C(0xcbf29ce484222325);
    world.now_ns = OS_NS_PER_SECOND;
    world.wall_us = WORLD_BEGIN;
    world.verbose = verbose;
    world.current = &world.tasks[0];
    world.tasks[0].state = TASK_READY;
    memcpy(world.tasks[0].name, "world", sizeof("world"));
}

uint64_t scheduler_end(void)
{
    assert(world.current == &world.tasks[0]);
    for (size_t i = 1; i < TASK_COUNT_MAX; i++)
        assert(world.tasks[i].state == TASK_FREE);
    return world.trace;
}

/* ---- os/thread.h ---- */

static void *live(void *user)
{
    struct task *self = (struct task *)user;

    for (;;) {
        wait_turn(self);
        self->run(self->user);
        self->state = TASK_FREE;
        wake(self, true);
        hand_over(true);
    }
    return NULL;
}

static struct task *take_task(void)
{
    for (size_t i = 1; i < TASK_COUNT_MAX; i++) {
        if (world.tasks[i].state == TASK_FREE)
            return &world.tasks[i];
    }
    scheduler_fail("more than %d threads", TASK_COUNT_MAX);
}

int os_thread_start(struct os_thread *thread, const char *name, void (*run)(void *user), void *user)
{
    struct task *task = take_task();
    pthread_t handle;
    int r = task->has_thread ? 0 : pthread_create(&handle, NULL, live, task);

    if (r != 0)
        return -r;
    task->has_thread = true;
    task->run = run;
    task->user = user;
    task->state = TASK_READY;
    (void)snprintf(task->name, sizeof(task->name), "%s", name);
    thread->handle = (pthread_t)(task - world.tasks);
    thread->started = true;
    scheduler_step(STEP_NS);
    return 0;
}

void os_thread_join(struct os_thread *thread)
{
    if (!thread->started)
        return;
    while (world.tasks[thread->handle].state != TASK_FREE)
        (void)wait_for(&world.tasks[thread->handle], NO_DEADLINE, false);
    thread->started = false;
}

void os_thread_stand_back(void)
{
    /* The dice say who goes first. */
}

void os_mutex_init(struct os_mutex *mutex)
{
    int r = pthread_mutex_init(&mutex->handle, NULL);

    assert(r == 0);
}

void os_mutex_deinit(struct os_mutex *mutex)
{
    int r = pthread_mutex_destroy(&mutex->handle);

    assert(r == 0);
}

static void take_mutex(struct os_mutex *mutex)
{
    while (pthread_mutex_trylock(&mutex->handle) != 0)
        (void)wait_for(mutex, NO_DEADLINE, false);
}

static void let_mutex_go(struct os_mutex *mutex)
{
    int r = pthread_mutex_unlock(&mutex->handle);

    assert(r == 0);
    wake(mutex, true);
}

void os_mutex_lock(struct os_mutex *mutex)
{
    scheduler_step(STEP_NS);
    take_mutex(mutex);
}

void os_mutex_unlock(struct os_mutex *mutex)
{
    let_mutex_go(mutex);
    scheduler_step(STEP_NS);
}

void os_rwlock_init(struct os_rwlock *lock)
{
    int r = pthread_rwlock_init(&lock->handle, NULL);

    assert(r == 0);
}

void os_rwlock_deinit(struct os_rwlock *lock)
{
    int r = pthread_rwlock_destroy(&lock->handle);

    assert(r == 0);
}

void os_rwlock_read(struct os_rwlock *lock)
{
    scheduler_step(STEP_NS);
    while (pthread_rwlock_tryrdlock(&lock->handle) != 0)
        (void)wait_for(lock, NO_DEADLINE, false);
}

void os_rwlock_write(struct os_rwlock *lock)
{
    scheduler_step(STEP_NS);
    while (pthread_rwlock_trywrlock(&lock->handle) != 0)
        (void)wait_for(lock, NO_DEADLINE, false);
}

void os_rwlock_unlock(struct os_rwlock *lock)
{
    int r = pthread_rwlock_unlock(&lock->handle);

    assert(r == 0);
    wake(lock, true);
    scheduler_step(STEP_NS);
}

void os_cond_init(struct os_cond *cond)
{
    int r = pthread_cond_init(&cond->handle, NULL);

    assert(r == 0);
}

void os_cond_deinit(struct os_cond *cond)
{
    int r = pthread_cond_destroy(&cond->handle);

    assert(r == 0);
}

void os_cond_wait(struct os_cond *cond, struct os_mutex *mutex)
{
    let_mutex_go(mutex);
    (void)wait_for(cond, NO_DEADLINE, true);
    take_mutex(mutex);
}

bool os_cond_wait_until(struct os_cond *cond, struct os_mutex *mutex, uint64_t deadline_ns)
{
    bool in_time;

    let_mutex_go(mutex);
    in_time = wait_for(cond, deadline_ns, true);
    take_mutex(mutex);
    return in_time;
}

void os_cond_signal(struct os_cond *cond)
{
    wake(cond, false);
}

void os_cond_broadcast(struct os_cond *cond)
{
    wake(cond, true);
}

/* ---- os/clock.h ---- */

int64_t os_realtime_us(void)
{
    return world.wall_us + (int64_t)(world.now_ns / 1000);
}

uint64_t os_monotonic_ns(void)
{
    return world.now_ns;
}

static int64_t clock_realtime_us(const struct os_clock *clock)
{
    return os_realtime_us();
}

static uint64_t clock_monotonic_ns(const struct os_clock *clock)
{
    return os_monotonic_ns();
}

const struct os_clock *os_clock_real(void)
{
    static const struct os_clock clock = {.realtime_us = clock_realtime_us,
                                          .monotonic_ns = clock_monotonic_ns};

    return &clock;
}

/* ---- os/random.h ---- */

int os_random(void *data, size_t size)
{
    uint8_t *to = (uint8_t *)data;

    for (size_t i = 0; i < size; i++)
        to[i] = (uint8_t)(roll() >> 40);
    return 0;
}

static int random_fill(const struct os_random *random, void *data, size_t size)
{
    return os_random(data, size);
}

const struct os_random *os_random_real(void)
{
    static const struct os_random random = {.fill = random_fill};

    return &random;
}
