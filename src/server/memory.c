#include "server/memory.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINE_SIZE_MAX = 4096, PATH_SIZE_MAX = LINE_SIZE_MAX + 64 };

#define SCARCE_SIZE        (UINT64_C(1) << 30)
#define MMAP_THRESHOLD     (128 * 1024)
#define SCARCE_ARENA_COUNT 2

/* ---- what there is ---- */

/* The number in a file; 0: none, or no limit ("max", or close to 2^63 as version 1 has it). */
static uint64_t limit_read(const char *path)
{
    FILE *file = fopen(path, "re");
    unsigned long long value = 0;

    if (!file)
        return 0;
    if (fscanf(file, "%llu", &value) != 1 || value > UINT64_MAX / 4)
        value = 0;
    (void)fclose(file);
    return value;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return b > 0 && b < a ? b : a;
}

/* The least limit of a group and those above it. */
static uint64_t group_limit(uint64_t memory, const char *root, const char *group, const char *name)
{
    char path[PATH_SIZE_MAX];
    size_t size = strlen(group);

    for (;;) {
        if (snprintf(path, sizeof(path), "%s%.*s/%s", root, (int)size, group, name) < (int)sizeof(path))
            memory = least(memory, limit_read(path));
        if (size == 0)
            return memory;
        size--;
        while (size > 0 && group[size] != '/')
            size--;
    }
}

uint64_t memory_found(void)
{
    uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    FILE *file = fopen("/proc/self/cgroup", "re");
    char line[LINE_SIZE_MAX];

    while (file && fgets(line, sizeof(line), file)) {
        line[strcspn(line, "\n")] = '\0';
        const char *kind = strchr(line, ':'), *group = kind ? strchr(kind + 1, ':') : NULL;
        if (!group)
            continue;
        if (group == kind + 1)
            memory = group_limit(memory, "/sys/fs/cgroup", group + 1, "memory.max");
        else if (strncmp(kind, ":memory:", 8) == 0)
            memory = group_limit(memory, "/sys/fs/cgroup/memory", group + 1, "memory.limit_in_bytes");
    }
    if (file)
        (void)fclose(file);
    return memory;
}

/* ---- what follows ---- */

static const struct {
    const char *limit;
    uint64_t divisor; /* of the memory: what is left is the limit, if the default is not less */
} shares[] = {
    {"connection_count_max", 64 * 1024}, {"subscription_count_max", 128 * 1024},
    {"group_waiting_count_max", 256 * 1024}, {"bodies_size_max", 8},
    {"answers_size_max", 8}, {"body_size_max", 32},
    {"page_size_max", 64}, {"page_cache_size_max", 32},
    {"subscription_buffer_size_max", 32}, {"stream_piece_size_max", 512},
};

void memory_fit(struct server_options *options)
{
    if (options->memory == 0)
        options->memory = memory_found();
    if (options->memory < SERVER_MEMORY_MIN)
        options->memory = SERVER_MEMORY_MIN;
    for (size_t i = 0; i < sizeof(shares) / sizeof(shares[0]); i++)
        server_limit_lower(options, shares[i].limit, options->memory / shares[i].divisor);
}

void memory_thrift(uint64_t memory)
{
    if (memory > SCARCE_SIZE)
        return;
    mallopt(M_ARENA_MAX, SCARCE_ARENA_COUNT);
    mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD); /* and no more: else what was freed once is kept the next time */
}
