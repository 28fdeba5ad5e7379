/* Who waits for the head to move, or listens. */

#include "journal/state.h"
#include "os/clock.h"

void journal_listen(struct journal *journal, struct journal_listener *listener)
{
    os_mutex_lock(&journal->listen_lock);
    listener->previous = NULL;
    listener->next = journal->listeners;
    if (listener->next)
        listener->next->previous = listener;
    journal->listeners = listener;
    os_mutex_unlock(&journal->listen_lock);
}

void journal_unlisten(struct journal *journal, struct journal_listener *listener)
{
    os_mutex_lock(&journal->listen_lock);
    if (listener->next)
        listener->next->previous = listener->previous;
    if (listener->previous)
        listener->previous->next = listener->next;
    else
        journal->listeners = listener->next;
    listener->next = listener->previous = NULL;
    os_mutex_unlock(&journal->listen_lock);
}

void journal_notify(struct journal *journal)
{
    os_mutex_lock(&journal->state_lock);
    os_cond_broadcast(&journal->moved);
    os_mutex_unlock(&journal->state_lock);
    os_mutex_lock(&journal->listen_lock);
    uint64_t head = journal_head(journal); /* under the lock: nobody is told less than before */
    for (struct journal_listener *listener = journal->listeners; listener; listener = listener->next)
        listener->moved(listener, head);
    os_mutex_unlock(&journal->listen_lock);
}

int journal_wait(struct journal *journal, uint64_t after, uint32_t timeout_ms)
{
    uint64_t deadline_ns = os_monotonic_ns() + timeout_ms * OS_NS_PER_MS;
    int r = 0;
    os_mutex_lock(&journal->state_lock);
    journal->waiter_count++;
    while (journal_head(journal) <= after && r == 0) {
        if (journal->ending)
            r = -ECANCELED;
        else if (!os_cond_wait_until(&journal->moved, &journal->state_lock, deadline_ns))
            r = journal_head(journal) <= after ? -ETIMEDOUT : 0;
    }
    if (--journal->waiter_count == 0)
        os_cond_signal(&journal->waiter_gone);
    os_mutex_unlock(&journal->state_lock);
    return r;
}
