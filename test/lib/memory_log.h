/* memory_log: a second engine behind log/log.h, in memory, whose outcomes a test can script.
 *
 * It proves the seam: what runs on it and on the file log alike depends on neither. A store outlives the logs opened on
 * it, so that a test can close and open again. Any thread may call the memory_store_*() functions.
 */
#pragma once

#include "log/log.h"

struct memory_store;

struct memory_store *memory_store_new(void);
void memory_store_free(struct memory_store *store);

/* Make the next log opened on the store carry this id: a follower's is its leader's. */
void memory_store_set_id(struct memory_store *store, const uint8_t id[LOG_ID_SIZE]);

/* Open the log on the store: one at a time. With `threaded` batches wait in a queue, and done() comes from another thread.
 * NULL when there is no memory. */
struct log *memory_log_open(struct memory_store *store, bool threaded);

/* The next `count` batches end with this outcome instead of LOG_DURABLE. `kept`: LOG_UNKNOWN, and the batch is there after
 * reopening all the same. After LOG_FAILED and LOG_UNKNOWN the log takes nothing until it is opened again. */
void memory_store_script(struct memory_store *store, enum log_outcome outcome, unsigned count, bool kept);

/* Batches wait, just before they become durable, until they are let go. */
void memory_store_hold(struct memory_store *store);
void memory_store_release(struct memory_store *store);
/* Wait until a batch is being held, and let that one go; the next is held again. */
void memory_store_step(struct memory_store *store);
/* Wait until a batch is being held, at most 10 s: whether one is. */
bool memory_store_wait_held(struct memory_store *store);

/* The next batch is preceded by a record of another writer, and fenced. */
void memory_store_intrude(struct memory_store *store, struct bytes head, struct bytes body);

/* Reading the record at this position answers -EBADMSG; 0: none. */
void memory_store_damage(struct memory_store *store, uint64_t position);

/* How many batches have been handed over. */
uint64_t memory_store_batches(struct memory_store *store);
/* Wait until so many have been, at most 10 s: whether they have. */
bool memory_store_wait_batches(struct memory_store *store, uint64_t count);
