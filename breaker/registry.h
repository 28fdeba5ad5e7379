/* Named and keyed breakers of a region. Not installed. */
#pragma once

#include "layout.h"

/* Take the registry's lock: only for making, evicting and reconfiguring, never for calls. `may_wait`: up to
 * half a second, asking whether the holder lives; else one try. */
bool registry_lock(struct breaker_region *region, bool may_wait, uint64_t now_ns);
void registry_unlock(struct breaker_region *region);

/* A slot's name; false when it changed while being read. */
bool slot_name(const struct slot *slot, char ret_name[BREAKER_NAME_MAX + 1]);

struct name {
    uint64_t words[8];
    uint64_t hash;
    bool is_legal;
};

/* The name as its slot keeps it; is_legal is false for none and for one that is too long. */
struct name name_make(const struct breaker_region *region, const char *text, size_t length);
uint64_t name_hash(const struct breaker_region *region, const char *name, size_t length);

/* Look up without a lock; may miss what is just being moved. */
bool index_find(struct breaker_region *region, const struct name *name, struct breaker *ret_breaker);

/* Was this slot ever taken? */
bool slot_is_used(const struct breaker_region *region, uint32_t number);

/* With the lock held: take an entry out; find a slot for a name, or for a key, looking for one to evict in a few steps;
 * make a breaker in it, for all to see once it is published. */
void index_remove(struct breaker_region *region, uint32_t number);
bool slot_take_named(struct breaker_region *region, uint32_t *ret_number);
bool slot_take_key(struct breaker_region *region, uint64_t now_ns, uint32_t *ret_number);
void slot_make(struct breaker_region *region, uint32_t number, const struct name *name,
               const struct breaker *group, uint64_t now_ns, struct breaker *ret_breaker);
void slot_publish(const struct breaker *breaker);

/* Free the keyed slot if it may be (B7): true when nothing lives there any more. */
bool key_evict(struct breaker_region *region, uint32_t number, uint64_t now_ns);

/* A handle that lets calls pass, and the answer why. */
int pass_untouched(struct breaker_region *region, int answer, struct breaker *ret_breaker);

/* Write a configuration into force. The lock is held. */
void rules_install(const struct breaker *breaker, const struct breaker_config *config, bool is_new);
