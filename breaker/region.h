/* Who owns shards and the registry's lock: processes, told apart by number and start time. Not installed. */
#pragma once

#include "layout.h"

/* This process, as a word: pid 32 | start time 32. Makes system calls. */
uint64_t owner_self(void);

/* Surely dead? Unknown is alive. Makes system calls. */
bool owner_is_dead(uint64_t owner);
