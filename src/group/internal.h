#pragma once

/* What the files of group share: the groups (groups.c), one of them (group.c), and writing down (keeper.c). */

#include "group/group.h"
#include "group/record.h"
#include "os/thread.h"

enum { GROUP_STREAM_SIZE_MAX = 160 };

struct group {
    struct groups *groups;
    unsigned refs; /* under groups->lock; the table holds one */
    struct group *next;
    char name[GROUP_NAME_SIZE_MAX + 1];
    char stream[GROUP_STREAM_SIZE_MAX];
    struct group_definition definition;
    struct os_mutex write_lock; /* held while something of it is being appended; taken before `lock` */
    struct os_mutex lock;       /* for all below */
    struct group_state state;
    bool dirty; /* something is to be written down */
    bool gone;  /* deleted: nothing more is written */
    uint64_t cursor_stored;
    unsigned records; /* since the whole state was written */
};

struct groups {
    struct journal *journal;
    struct groups_options options;
    struct os_mutex change_lock; /* creating and deleting, one at a time */
    struct os_mutex lock;        /* the list, references, and for the keeper */
    struct os_cond wanted;
    struct group *first; /* by name */
    size_t count;
    struct os_thread keeper;
    bool wants, ending;
    bool left_out; /* since opening: some could not be read */
};

/* ---- groups.c ---- */

/* NULL: none of this name. */
struct group *group_acquire(struct groups *groups, struct bytes name);
void group_release(struct group *group);
/* The next group by name, after `group` (NULL: the first), with a reference; that of `group` is given back. */
struct group *group_next(struct groups *groups, struct group *group);
static inline void group_releasep(struct group **group)
{
    if (*group)
        group_release(*group);
}
static inline uint64_t group_now_ns(const struct groups *groups)
{
    return groups->options.clock->monotonic_ns(groups->options.clock);
}
static inline int64_t group_time_us(const struct groups *groups)
{
    return groups->options.clock->realtime_us(groups->options.clock);
}

/* ---- group.c ---- */

/* The event at a position, by a reader kept between calls (*reader NULL at first; the caller frees it). Valid until the
 * next call. 0, JOURNAL_E_END: there is none; -errno. */
_must_check_ int group_read_event(struct journal *journal, uint64_t position, struct journal_reader **reader,
                                  struct journal_event *ret_event);
/* Reads on in the journal for a while. Under the group's lock. 0, JOURNAL_E_END at the head; -errno. */
_must_check_ int group_fill(struct group *group);

/* ---- keeper.c ---- */

int keeper_start(struct groups *groups);
/* Writes what is left, as far as the journal takes it. */
void keeper_stop(struct groups *groups);
/* Something is to be written: soon. Under the group's lock. */
void keeper_want(struct group *group);
/* Writes down what there is now. Under write_lock. 0, GROUP_E_JOURNAL with *ret_result, -errno. */
_must_check_ int keeper_write(struct group *group, struct journal_result *ret_result);
/* One event of the group's own, under write_lock. */
_must_check_ int keeper_append(struct group *group, const char *type, struct bytes data,
                               struct journal_result *ret_result);
