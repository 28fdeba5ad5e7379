/* A region's breakers into another one: when a zone gets another size, its memory is made anew, and what was open must stay
 * open. Read without stopping anyone; what is counted meanwhile stays behind. */
#include "calls.h"
#include "config.h"
#include "registry.h"

/* Counts of all shards go into the common one: the processes of the new region begin with nothing. */
static void copy_totals(const struct breaker *from, const struct breaker *to)
{
    struct shard *common = breaker_shard(to, to->region->shards);
    for (uint64_t left = breaker_shard_bits(from); left; left &= left - 1) {
        const struct shard *shard = breaker_shard(from, (uint32_t)__builtin_ctzll(left));
        for (int k = 0; k < TOTALS; k++)
            word_add(&common->total[k], word_load(&shard->total[k]));
        for (uint32_t k = 0; k < 2 * breaker_buckets(from); k++)
            word_add(&common->took[k], word_load(&shard->took[k]));
    }
}

static void copy_marks(const struct breaker *from, const struct breaker *to)
{
    for (uint32_t i = 0; i < LATENCY_MARKS; i++) {
        const struct mark *mark = breaker_mark(from, i);
        for (uint32_t k = 0; k < breaker_buckets(from) + LATELY_COUNTS; k++)
            atomic_store(&breaker_mark(to, i)->count[k], atomic_load((_Atomic uint32_t *)&mark->count[k]));
        word_store(&breaker_mark(to, i)->tag, word_load(&mark->tag));
    }
}

static void copy_events(const struct breaker *from, const struct breaker *to)
{
    uint32_t kept;
    struct record *source = breaker_records(from, &kept), *target = breaker_records(to, &kept);
    for (uint32_t i = 0; i < kept; i++) {
        word *const in[] = {&source[i].epoch, &source[i].at_ns,  &source[i].what,    &source[i].total,
                            &source[i].slow,  &source[i].streak, &source[i].open_ns, &source[i].check};
        word *const out[] = {&target[i].epoch, &target[i].at_ns,  &target[i].what,    &target[i].total,
                             &target[i].slow,  &target[i].streak, &target[i].open_ns, &target[i].check};
        for (int k = 0; k < 8; k++)
            word_store(out[k], word_load(in[k]));
    }
}

/* Calls that are under way end where they began: none of them runs here. */
static void copy_slices(const struct breaker *from, const struct breaker *to, const struct rules *rules)
{
    uint32_t slices = ring_slices(from, rules);
    struct cell *common = breaker_cells(to, breaker_is_keyed(to) ? 0 : to->region->shards);
    for (uint64_t left = breaker_shard_bits(from); left; left &= left - 1) {
        const struct cell *cells = breaker_cells(from, (uint32_t)__builtin_ctzll(left));
        for (uint32_t i = 0; i < slices; i++)
            for (int k = TOTAL_STARTED + 1; k < 8; k++) {
                uint64_t value = word_load(&cells[i].count[k]);
                if ((uint32_t)value == 0)
                    continue;
                tagged_add_many(&common[i].count[k], (uint32_t)(value >> 32), (uint32_t)value);
                tagged_add_many(&common[i].count[TOTAL_STARTED], (uint32_t)(value >> 32), (uint32_t)value);
            }
    }
}

static void copy_window(const struct breaker *from, const struct breaker *to)
{
    const struct rules *rules = breaker_rules(from);
    if (!(word_load(&rules->flags) & RULE_COUNT)) {
        copy_slices(from, to, rules);
        return;
    }
    uint64_t count = word_load(&rules->window_count);
    const _Atomic uint32_t *in = (const _Atomic uint32_t *)breaker_cells(from, 0);
    _Atomic uint32_t *out = (_Atomic uint32_t *)breaker_cells(to, 0);
    for (uint64_t i = 0; i < count && i < ring_capacity(from) && i < ring_capacity(to); i++)
        atomic_store(&out[i], atomic_load((_Atomic uint32_t *)&in[i]));
    word_store(&((struct slot *)to->slot)->position, word_load(&((struct slot *)from->slot)->position));
}

/* Probes that are out are reported to the region they came from: their places are free here. */
static void copy_probes(const struct breaker *from, const struct breaker *to, uint32_t epoch)
{
    for (uint32_t i = 0; i < breaker_probes_room(from) && i < breaker_probes_room(to); i++) {
        uint64_t probe = word_load(breaker_probe(from, i));
        if (probe_state(probe, epoch) != PROBE_OUT)
            word_store(breaker_probe(to, i), probe);
    }
}

/* The state last: until then it is closed, and its epoch is another. */
static void copy_breaker(const struct breaker *from, const struct breaker *to)
{
    struct slot *in = from->slot, *out = to->slot;
    uint64_t state = atomic_load_explicit(&in->state, memory_order_acquire);
    copy_totals(from, to);
    copy_marks(from, to);
    copy_events(from, to);
    copy_window(from, to);
    copy_probes(from, to, state_epoch(state));
    word *const words[][2] = {{&out->since, &in->since},       {&out->until, &in->until},
                              {&out->clock_ns, &in->clock_ns}, {&out->hung_slice, &in->hung_slice},
                              {&out->streak, &in->streak},     {&out->evidence, &in->evidence},
                              {&out->hint, &in->hint},         {&out->used_ns, &in->used_ns},
                              {&out->latency_due_ns, &in->latency_due_ns}};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        word_store(words[i][0], word_load(words[i][1]));
    atomic_store_explicit(&out->state, state, memory_order_release);
}

/* The tags of its window depend on its geometry's number. */
static void copy_rules(const struct breaker *from, const struct breaker *to)
{
    struct rules *rules = breaker_rules(to);
    word_store(&rules->geometry, word_load(&breaker_rules(from)->geometry));
    word_store(&rules->serial, word_load(&breaker_rules(from)->serial));
}

static int copy_named(struct breaker_region *to, const struct breaker *from, const char *name, uint64_t now_ns)
{
    struct breaker_config config;
    struct breaker made;
    rules_read(breaker_rules(from), &config);
    int answer = breaker_get(to, name, &config, now_ns, &made, NULL);
    if (answer)
        return answer;
    copy_rules(from, &made);
    copy_breaker(from, &made);
    return 0;
}

/* A keyed one goes to the group of the same name; when that is full, it has to begin anew some time. */
static int copy_keyed(struct breaker_region *to, const struct breaker *from, const char *text, uint64_t now_ns)
{
    char group_name[BREAKER_NAME_MAX + 1];
    struct breaker group, made;
    uint32_t number;
    struct name name = name_make(to, text, strlen(text));
    if (!slot_name(from->rules, group_name) || breaker_find(to, group_name, &group) || !registry_lock(to, true, now_ns))
        return BREAKER_E_ABSENT;
    bool has_room = !index_find(to, &name, &made) && slot_take_key(to, now_ns, &number);
    if (has_room) {
        slot_make(to, number, &name, &group, now_ns, &made);
        copy_breaker(from, &made);
        slot_publish(&made);
    }
    registry_unlock(to);
    return has_room ? 0 : BREAKER_E_CAPACITY;
}

int breaker_region_copy(struct breaker_region *to, struct breaker_region *from, uint64_t now_ns)
{
    char name[BREAKER_NAME_MAX + 1];
    struct breaker breaker;
    uint32_t cursor = 0;
    int worst = 0;
    if (!to || !to->base || !from || !from->base)
        return BREAKER_E_MISSING;
    atomic_fetch_or(&region_head(to)->shards_used, UINT64_C(1) << to->shards); /* the common one counts now */
    while (breaker_next(from, &cursor, &breaker) == 0) { /* named ones come first */
        if (!slot_name(breaker.slot, name))
            continue;
        int answer = breaker_is_keyed(&breaker) ? copy_keyed(to, &breaker, name, now_ns)
                                                : copy_named(to, &breaker, name, now_ns);
        worst = answer ? answer : worst;
    }
    return worst;
}
