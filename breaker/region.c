/* Regions: making, validating, attaching, and who owns which shard.
 *
 * A shard is owned by a process: its number and its start time, so that a number that was given again is told
 * apart. Owners change by compare-and-swap only. Whoever finds a dead owner takes the shard over first and
 * cleans it then, so two that look at once never clean what a third has already begun to use.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "region.h"
#include "registry.h"

uint64_t breaker_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* A small file of /proc; 0 bytes when it cannot be read. */
static size_t file_read(const char *path, char *buffer, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t got = read(fd, buffer, size - 1);
    close(fd);
    buffer[got > 0 ? got : 0] = 0;
    return got > 0 ? (size_t)got : 0;
}

static uint64_t boot_id(uint64_t given)
{
    char text[64];
    if (given)
        return given;
    uint64_t hash = 1;
    size_t size = file_read("/proc/sys/kernel/random/boot_id", text, sizeof(text));
    for (size_t i = 0; i < size; i++)
        hash = mix64(hash ^ (unsigned char)text[i]);
    return hash | 1;
}

/* Start time of a process in clock ticks, field 22 of its stat; 0 unknown. The name in brackets may hold
 * anything. */
static uint32_t start_time(uint32_t pid)
{
    char path[32] = "/proc/", text[1024], digits[12];
    size_t length = 6, count = 0;
    do
        digits[count++] = (char)('0' + pid % 10);
    while ((pid /= 10) > 0);
    while (count > 0)
        path[length++] = digits[--count];
    memcpy(path + length, "/stat", 6);
    if (file_read(path, text, sizeof(text)) == 0)
        return 0;
    const char *at = strrchr(text, ')');
    for (int field = 2; at && field < 22; field++)
        at = strchr(at + 1, ' ');
    return at ? (uint32_t)strtoull(at + 1, NULL, 10) : 0;
}

uint64_t owner_self(void)
{
    uint32_t pid = (uint32_t)getpid();
    return (uint64_t)pid << 32 | start_time(pid);
}

/* Unknown is alive: nothing is ever taken from a process that may still write. */
bool owner_is_dead(uint64_t owner)
{
    uint32_t pid = (uint32_t)(owner >> 32);
    if (owner == 0 || pid > INT32_MAX || pid == 0)
        return owner != 0;
    if (kill((pid_t)pid, 0) < 0 && errno == ESRCH)
        return true;
    uint32_t started = start_time(pid);
    return started != 0 && (uint32_t)owner != 0 && started != (uint32_t)owner;
}

static bool geometry_is_legal(const struct breaker_region *g)
{
    return g->breakers && g->breakers <= BREAKER_BREAKERS_MAX && g->shards && g->shards <= BREAKER_SHARDS_MAX &&
           g->slices && g->slices <= BREAKER_SLICES_MAX && g->keys && g->keys <= BREAKER_BREAKERS_MAX &&
           g->key_slices && g->key_slices <= KEY_SLICES_MAX && g->key_probes && g->key_probes <= BREAKER_PROBES_MAX;
}

static bool options_read(const struct breaker_region_options *options, struct breaker_region *ret_geometry,
                         uint64_t *ret_boot_id)
{
    struct breaker_region_options o = {0};
    if (options)
        memcpy(&o, options, options->struct_size && options->struct_size < sizeof(o) ? options->struct_size : sizeof(o));
    ret_geometry->breakers = o.breakers ? o.breakers : 16;
    ret_geometry->shards = o.shards ? o.shards : 8;
    ret_geometry->slices = o.slices ? o.slices : 20;
    ret_geometry->keys = o.keys ? o.keys : ret_geometry->breakers;
    ret_geometry->key_slices = o.key_slices ? o.key_slices : ret_geometry->slices;
    ret_geometry->key_probes = o.key_probes ? o.key_probes : KEY_PROBES;
    *ret_boot_id = o.boot_id;
    return geometry_is_legal(ret_geometry);
}

static uint64_t geometry_size(const struct breaker_region *g)
{
    return sizeof(struct head) + index_size_of(region_entries(g)) * sizeof(word) +
           g->breakers * named_size_of(g->shards, g->slices) +
           g->keys * keyed_size_of(g->shards, g->key_slices, g->key_probes);
}

size_t breaker_region_size(const struct breaker_region_options *options)
{
    struct breaker_region geometry = {0};
    uint64_t boot;
    if (!options_read(options, &geometry, &boot))
        return 0;
    return geometry_size(&geometry);
}

/* Over everything that is written once. */
static uint64_t head_check(const struct head *head)
{
    uint64_t check = mix64(head->magic ^ mix64(head->layout | (uint64_t)head->order << 32));
    check = mix64(check ^ head->size);
    check = mix64(check ^ head->breakers ^ (uint64_t)head->shards << 32);
    check = mix64(check ^ head->slices ^ (uint64_t)head->index_size << 32);
    check = mix64(check ^ head->keys ^ (uint64_t)head->key_slices << 32);
    check = mix64(check ^ head->key_probes ^ (uint64_t)head->zero << 32);
    return mix64(check ^ head->boot_id ^ mix64(head->seed));
}

int breaker_region_init(void *memory, size_t size, const struct breaker_region_options *options)
{
    struct breaker_region geometry = {0};
    uint64_t boot;
    if (!memory)
        return BREAKER_E_MISSING;
    if ((uintptr_t)memory % LINE)
        return BREAKER_E_ALIGNMENT;
    if (!options_read(options, &geometry, &boot))
        return BREAKER_E_OPTIONS;
    uint64_t need = geometry_size(&geometry);
    if (size < need)
        return BREAKER_E_TRUNCATED;

    memset(memory, 0, need);
    struct head *head = memory;
    head->layout = REGION_LAYOUT;
    head->order = REGION_ORDER;
    head->size = need;
    head->breakers = geometry.breakers;
    head->shards = geometry.shards;
    head->slices = geometry.slices;
    head->keys = geometry.keys;
    head->key_slices = geometry.key_slices;
    head->key_probes = geometry.key_probes;
    head->index_size = index_size_of(region_entries(&geometry));
    head->boot_id = boot_id(boot);
    head->seed = mix64(head->boot_id ^ UINT64_C(0x627265616b657273));
    head->magic = REGION_MAGIC;
    head->check = head_check(head);
    return 0;
}

static struct breaker_region geometry_of(const struct head *head)
{
    return (struct breaker_region){.breakers = head->breakers,
                                   .shards = head->shards,
                                   .slices = head->slices,
                                   .keys = head->keys,
                                   .key_slices = head->key_slices,
                                   .key_probes = head->key_probes};
}

static int head_validate(const struct head *head, size_t size, uint64_t boot)
{
    if (size < sizeof(*head))
        return BREAKER_E_TRUNCATED;
    if (head->magic == 0)
        return BREAKER_E_EMPTY;
    if (head->magic != REGION_MAGIC)
        return BREAKER_E_FOREIGN;
    if (head->layout != REGION_LAYOUT || head->order != REGION_ORDER)
        return BREAKER_E_LAYOUT;
    if (head->check != head_check(head))
        return BREAKER_E_CORRUPT;
    struct breaker_region geometry = geometry_of(head);
    if (!geometry_is_legal(&geometry) || head->index_size != index_size_of(region_entries(&geometry)) ||
        head->size != geometry_size(&geometry))
        return BREAKER_E_CORRUPT;
    if (size < head->size)
        return BREAKER_E_TRUNCATED;
    return head->boot_id == boot_id(boot) ? 0 : BREAKER_E_BOOT;
}

/* A slot's handle, without asking whether anyone lives there; false: its memory names no home. */
static bool slot_handle(struct breaker_region *region, uint32_t number, struct breaker *ret_breaker)
{
    struct slot *slot = region_slot(region, number);
    *ret_breaker = (struct breaker){region, slot, slot_home(region, number), number >= region->breakers};
    return ret_breaker->rules != NULL;
}

static void places_clear(struct breaker_region *region, uint32_t shard)
{
    struct breaker breaker;
    for (uint32_t i = 0; i < region_entries(region); i++)
        if (slot_is_used(region, i) && slot_handle(region, i, &breaker))
            word_store(breaker_place(&breaker, shard), 0);
}

/* Forget what a shard's former owner had under way; its totals are history and stay. In a keyed one nobody's hung calls
 * can be told apart: they leave with their slices. */
static void shard_reset(struct breaker_region *region, uint32_t shard)
{
    struct breaker breaker;
    places_clear(region, shard);
    for (uint32_t i = 0; i < region->breakers && slot_is_used(region, i); i++) {
        if (!slot_handle(region, i, &breaker) || (word_load(&breaker_rules(&breaker)->flags) & RULE_COUNT))
            continue; /* the cells are one ring that all shards write */
        struct cell *cells = breaker_cells(&breaker, shard);
        for (uint32_t k = 0; k < region->slices; k++)
            for (int n = 0; n < 8; n++)
                word_store(&cells[k].count[n], 0);
    }
}

/* Own the shard, if it is free or its owner is dead; clean it then. */
static bool shard_claim(struct breaker_region *region, uint32_t shard, uint64_t self, bool only_dead)
{
    word *owner = &region_head(region)->owner[shard];
    uint64_t held = word_load(owner);
    if (held == 0 ? only_dead : !owner_is_dead(held))
        return false;
    if (!word_swap(owner, &held, self))
        return false;
    if (held != 0)
        shard_reset(region, shard);
    return true;
}

static int region_open(struct breaker_region *ret_region, void *memory, size_t size, uint64_t boot)
{
    struct breaker_region region = {0};
    memset(ret_region, 0, sizeof(*ret_region));
    if (!memory)
        region.answer = BREAKER_E_MISSING;
    else if ((uintptr_t)memory % LINE)
        region.answer = BREAKER_E_ALIGNMENT;
    else
        region.answer = head_validate(memory, size, boot);
    if (region.answer == 0) {
        const struct head *head = memory;
        region = geometry_of(head);
        region.base = memory;
        region.size = head->size;
        region.boot_id = head->boot_id;
        region.self = owner_self();
    }
    *ret_region = region;
    return region.answer;
}

int breaker_region_attach(struct breaker_region *ret_region, void *memory, size_t size, uint32_t lanes,
                          uint64_t boot)
{
    int answer = region_open(ret_region, memory, size, boot);
    if (answer)
        return answer;
    struct head *head = region_head(ret_region);
    uint64_t self = ret_region->self;
    breaker_region_sweep(ret_region); /* the shard that is free may not be the one whose owner has died */
    uint32_t most = lanes < 1 ? 1 : lanes > sizeof(ret_region->lane) ? sizeof(ret_region->lane) : lanes;
    for (uint32_t i = 0; i < ret_region->shards && ret_region->lanes < most; i++)
        if (shard_claim(ret_region, i, self, false))
            ret_region->lane[ret_region->lanes++] = (uint8_t)i;
    if (ret_region->lanes == 0) {
        ret_region->is_common = 1;
        ret_region->lane[0] = (uint8_t)ret_region->shards;
        ret_region->answer = BREAKER_E_SHARDS;
    }
    uint64_t bits = 0;
    for (uint32_t i = 0; i < (ret_region->lanes ? ret_region->lanes : 1); i++)
        bits |= UINT64_C(1) << ret_region->lane[i];
    atomic_fetch_or(&head->shards_used, bits);
    return ret_region->answer;
}

int breaker_region_observe(struct breaker_region *ret_region, void *memory, size_t size, uint64_t boot)
{
    int answer = region_open(ret_region, memory, size, boot);
    if (answer == 0) {
        ret_region->is_common = 1;
        ret_region->lane[0] = (uint8_t)ret_region->shards;
    }
    return answer;
}

void breaker_region_detach(struct breaker_region *region)
{
    if (!region || !region->base)
        return;
    for (uint32_t i = 0; i < region->lanes; i++) {
        uint32_t shard = region->lane[i];
        places_clear(region, shard);
        atomic_store(&region_head(region)->owner[shard], 0);
    }
    memset(region, 0, sizeof(*region));
}

int breaker_region_sweep(struct breaker_region *region)
{
    if (!region || !region->base)
        return 0;
    int freed = 0;
    for (uint32_t i = 0; i < region->shards; i++)
        if (shard_claim(region, i, region->self, true)) {
            atomic_store(&region_head(region)->owner[i], 0);
            freed++;
        }
    return freed;
}
