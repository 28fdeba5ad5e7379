/* Open addressing with linear probing, at most three quarters full. Nothing is ever removed, so a free slot ends every
 * search. */

#include "journal/places.h"

#include <stdlib.h>

enum { PLACES_CAPACITY_MIN = 64 };

static void insert(struct place *slots, size_t capacity, struct place place)
{
    size_t at = place.hash & (capacity - 1);
    while (slots[at].position != 0)
        at = (at + 1) & (capacity - 1);
    slots[at] = place;
}

static int grow(struct places *places)
{
    size_t capacity = places->capacity > 0 ? places->capacity * 2 : PLACES_CAPACITY_MIN;
    struct place *slots = calloc(capacity, sizeof(*slots));
    if (!slots)
        return -ENOMEM;
    for (size_t i = 0; i < places->capacity; i++)
        if (places->slots[i].position != 0)
            insert(slots, capacity, places->slots[i]);
    free(places->slots);
    places->slots = slots;
    places->capacity = capacity;
    return 0;
}

int places_add(struct places *places, uint64_t hash, uint64_t position)
{
    if (places->count >= places->capacity / 4 * 3) {
        int r = grow(places);
        if (r < 0)
            return r;
    }
    insert(places->slots, places->capacity, (struct place){.hash = hash, .position = position});
    places->count++;
    return 0;
}

size_t places_begin(const struct places *places, uint64_t hash)
{
    return places->capacity > 0 ? hash & (places->capacity - 1) : 0;
}

uint64_t places_next(const struct places *places, uint64_t hash, size_t *at)
{
    if (places->capacity == 0)
        return 0;
    while (places->slots[*at].position != 0) {
        const struct place *place = &places->slots[*at];
        *at = (*at + 1) & (places->capacity - 1);
        if (place->hash == hash)
            return place->position;
    }
    return 0;
}

void places_deinit(struct places *places)
{
    free(places->slots);
    *places = (struct places){0};
}
