/* group_record: what a group writes into its stream `$group-NAME`, and how it is read back.
 *
 *     $GroupCreated   {"definition":{…}}                      the group exists from here on
 *     $GroupAcked     {"cursor":9,"acked":[[12,12],[15,17]]}  all up to the cursor is settled, and these beyond or before it
 *     $GroupParked    {"position":13,"tries":5,"reason":"…","time":microseconds}
 *     $GroupReplayed  {"positions":[13]}                      parked no more: to be delivered again
 *     $GroupState     {"definition":{…},"cursor":…,"settled":[[…]],"parked":[…],"returned":[…]}   all of it
 *     $GroupDeleted   {}
 *
 * Reading begins at the last $GroupState or $GroupCreated and applies what follows, in order. */
#pragma once

#include "group/definition.h"
#include "group/state.h"

#define GROUP_STREAM_PREFIX "$group-"
#define GROUP_CREATED       "$GroupCreated"
#define GROUP_ACKED         "$GroupAcked"
#define GROUP_PARKED        "$GroupParked"
#define GROUP_REPLAYED      "$GroupReplayed"
#define GROUP_STATE         "$GroupState"
#define GROUP_DELETED       "$GroupDeleted"

/* What a stream has told so far. */
struct group_memory {
    bool exists;
    struct group_definition definition;
    uint64_t cursor;
    struct group_range *settled;
    size_t settled_count, settled_capacity;
    struct group_parked *parked;
    size_t parked_count, parked_capacity;
    uint64_t *returned;
    size_t returned_count, returned_capacity;
};

enum { GROUP_RECORD_E_INVALID = 1 }; /* not what a group writes */

/* Whether reading may begin here: the event says all there is. */
bool group_record_is_whole(struct bytes type);

/* Takes in one event. 0; GROUP_RECORD_E_INVALID, -ENOMEM: the memory may hold half of it and is to be thrown away. Types
 * nobody knows are passed over. */
_must_check_ int group_memory_apply(struct group_memory *memory, struct bytes type, struct bytes data);
/* Sorts and joins the ranges, and drops those up to the cursor. */
void group_memory_finish(struct group_memory *memory);
void group_memory_deinit(struct group_memory *memory);

/* The data of each kind of event, appended. 0, -ENOMEM, -E2BIG. */
_must_check_ int group_record_created(const struct group_definition *definition, struct buffer *out);
_must_check_ int group_record_acked(const struct group_state *state, struct buffer *out);
_must_check_ int group_record_parked(const struct group_parked *parked, struct buffer *out);
_must_check_ int group_record_replayed(const uint64_t *positions, size_t count, struct buffer *out);
_must_check_ int group_record_state(const struct group_definition *definition,
                                    const struct group_state *state, struct buffer *out);
