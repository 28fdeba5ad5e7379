/* Named and keyed breakers of a region. Not installed. */
#pragma once

#include "layout.h"

/* Take the registry's lock: only for making, evicting and reconfiguring, never for calls. `may_wait`: up to
 * half a second, asking whether the holder lives; else one try. */
bool registry_lock(struct breaker_region *region, bool may_wait, uint64_t now_ns);
void registry_unlock(struct breaker_region *region);

/* A slot's name; false when it changed while being read. */
bool slot_name(const struct slot *slot, char ret_name[BREAKER_NAME_MAX + 1]);

/* Write a configuration into force. The lock is held. */
void rules_install(const struct breaker *breaker, const struct breaker_config *config, bool is_new);
