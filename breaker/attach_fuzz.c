/* Fuzzer: attach to any bytes at all, and if they are taken for a region, use it. Never a crash; when it is refused, not
 * a byte is written (B6) and every call passes.
 *
 * A region that passes the checks of its head may still hold rubbish everywhere else: what other processes write while we
 * are attached is no better. So the head is made to agree with itself first, in half of the inputs.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "breaker.h"
#include "layout.h"

#define SIZE_MAX_HERE (1 << 20)
#define BOOT          42

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fail(const char *why)
{
    fprintf(stderr, "attach_fuzz: %s\n", why);
    abort();
}

/* Everything a program does with a region, on whatever is in there. */
static void use(struct breaker_region *region)
{
    static char text[1 << 16];
    struct breaker breaker, key;
    struct breaker_permit permit;
    struct breaker_snapshot snapshot;
    struct breaker_latency latency;
    struct breaker_event events[BREAKER_EVENTS];
    uint32_t cursor = 0;
    size_t length;
    uint64_t now = UINT64_C(1000000000000);
    for (int i = 0; i < 8 && breaker_next(region, &cursor, &breaker) == 0; i++) {
        for (int call = 0; call < 40; call++, now += 300000000) {
            breaker_retry_after(&breaker, now);
            if (breaker_acquire(&breaker, now, call & 1, &permit) == 0)
                breaker_report(&breaker, &permit, (enum breaker_outcome)(call % 5), now + 1000);
        }
        breaker_snapshot(&breaker, now, &snapshot);
        breaker_latency(&breaker, now, &latency);
        breaker_events(&breaker, breaker_epoch(&breaker) - 64, events, BREAKER_EVENTS);
        breaker_key(&breaker, "key", 3, now, &key);
        breaker_force(&breaker, BREAKER_MODE_SHADOW, now);
        breaker_reset(&breaker, now);
    }
    if (breaker_get(region, "payments", NULL, now, &breaker, NULL) == 0)
        breaker_configure(&breaker, &snapshot.config, now, NULL);
    for (int format = BREAKER_JSON; format <= BREAKER_PROMETHEUS; format++)
        breaker_export(region, (enum breaker_format)format, now, 1, text, sizeof(text), &length);
    breaker_region_sweep(region);
}

/* Does the head agree with itself? Nobody else writes here, so a lock would never be given back: it is free. */
static void head_mend(void *memory, size_t size)
{
    struct breaker_region_options options = {.breakers = 2, .shards = 2, .slices = 4, .boot_id = BOOT, .keys = 3};
    size_t need = breaker_region_size(&options);
    if (size < need)
        return;
    struct head *head = memory;
    void *rest = malloc(need);
    memcpy(rest, memory, need);
    breaker_region_init(memory, size, &options);
    size_t behind = offsetof(struct head, owner); /* the first line and the third are written once */
    memcpy((char *)memory + LINE, (char *)rest + LINE, LINE);
    memcpy((char *)memory + behind, (char *)rest + behind, need - behind);
    free(rest);
    word_store(&head->lock, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > SIZE_MAX_HERE)
        return 0;
    struct breaker_region region;
    struct breaker breaker;
    struct breaker_permit permit;
    bool is_mended = data[0] & 1;
    data++, size--;
    size_t room = (size + LINE) / LINE * LINE;
    void *memory = aligned_alloc(LINE, room), *before = malloc(size + 1);
    memcpy(memory, data, size);
    if (is_mended)
        head_mend(memory, size);
    memcpy(before, memory, size);
    int answer = breaker_region_attach(&region, memory, size, 2, BOOT);
    if (region.base)
        use(&region);
    else if (memcmp(before, memory, size) != 0)
        fail("a refused region was written to");
    else if (answer == 0 || breaker_get(&region, "x", NULL, 1, &breaker, NULL) == 0 ||
             breaker_acquire(&breaker, 1, 0, &permit) != 0)
        fail("a refused region does not let calls pass");
    breaker_region_detach(&region);
    free(before);
    free(memory);
    return 0;
}
