/* Unicode's canonical caseless matching (The Unicode Standard, 3.13), and then composed again, so that what people see as one
 * character is one: decompose, fold, decompose; order the marks behind each starter by their class; compose. Hangul
 * syllables are computed, all else comes from fold_table.c. Text is taken in pieces that cannot touch each other, so that
 * memory is bounded but for a hostile heap of marks, which costs n log n. */
#include "view/fold.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/utf8.h"
#include "base/vector.h"
#include "view/fold_table.h"

/* Hangul (The Unicode Standard, 3.12): leading consonants × vowels × trailing consonants, the first trailing one being none. */
enum {
    HANGUL_BASE = 0xac00,
    LEAD_BASE = 0x1100,
    VOWEL_BASE = 0x1161,
    TRAIL_BASE = 0x11a7,
    LEAD_COUNT = 19,
    VOWEL_COUNT = 21,
    TRAIL_COUNT = 28,
    HANGUL_COUNT = LEAD_COUNT * VOWEL_COUNT * TRAIL_COUNT,
};

/* A mark below a Greek letter, which folds to a letter of its own once it stands where it belongs among the marks. */
enum { IOTA_BELOW = 0x345, IOTA = 0x3b9 };

/* Stands for a byte that is no UTF-8: nothing touches it. */
#define BYTE_BASE UINT32_C(0x110000)

struct mark {
    uint32_t code;
    uint32_t combining;
    size_t index;
};

struct folding {
    struct mark *marks; /* of the piece: from a starter on */
    size_t count, capacity;
    struct buffer *out;
};

/* --- the table ---------------------------------------------------------------------------------------------------------- */

static const struct fold_entry *find_entry(uint32_t code)
{
    size_t low = 0, high = fold_entry_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (fold_entries[middle].code < code)
            low = middle + 1;
        else
            high = middle;
    }
    return low < fold_entry_count && fold_entries[low].code == code ? &fold_entries[low] : NULL;
}

static uint32_t class_of(uint32_t code)
{
    size_t low = 0, high = fold_class_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (fold_classes[middle].last < code)
            low = middle + 1;
        else
            high = middle;
    }
    return low < fold_class_count && fold_classes[low].first <= code ? fold_classes[low].combining : 0;
}

static bool is_in(uint32_t code, uint32_t base, uint32_t count)
{
    return code >= base && code < base + count;
}

/* The two as one; 0: they are not. */
static uint32_t compose(uint32_t first, uint32_t second)
{
    if (is_in(first, LEAD_BASE, LEAD_COUNT) && is_in(second, VOWEL_BASE, VOWEL_COUNT))
        return HANGUL_BASE + ((first - LEAD_BASE) * VOWEL_COUNT + second - VOWEL_BASE) * TRAIL_COUNT;
    if (is_in(first, HANGUL_BASE, HANGUL_COUNT) && (first - HANGUL_BASE) % TRAIL_COUNT == 0 &&
        is_in(second, TRAIL_BASE + 1, TRAIL_COUNT - 1))
        return first + second - TRAIL_BASE;
    size_t low = 0, high = fold_pair_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct fold_pair *pair = &fold_pairs[middle];
        if (pair->first < first || (pair->first == first && pair->second < second))
            low = middle + 1;
        else
            high = middle;
    }
    const struct fold_pair *pair = &fold_pairs[low];
    return low < fold_pair_count && pair->first == first && pair->second == second ? pair->composed : 0;
}

/* --- pieces --------------------------------------------------------------------------------------------------------------- */

static int compare_marks(const void *a, const void *b)
{
    const struct mark *left = a, *right = b;
    if (left->combining != right->combining)
        return left->combining < right->combining ? -1 : 1;
    return left->index < right->index ? -1 : left->index > right->index;
}

/* Marks in the order of their classes, between two starters. */
static void order(struct folding *f)
{
    for (size_t first = 0; first < f->count;) {
        size_t end = first + 1;
        while (end < f->count && f->marks[first].combining != 0 && f->marks[end].combining != 0)
            end++;
        if (end - first > 1)
            qsort(&f->marks[first], end - first, sizeof(f->marks[0]), compare_marks);
        first = end;
    }
    for (size_t i = 0; i < f->count; i++) {
        if (f->marks[i].code == IOTA_BELOW)
            f->marks[i] = (struct mark){.code = IOTA, .index = i};
    }
}

/* Each mark into its starter where the two are one and none of its class stands between; in place. */
static size_t put_together(struct folding *f)
{
    size_t kept = 0, starter = SIZE_MAX;
    for (size_t i = 0; i < f->count; i++) {
        struct mark mark = f->marks[i];
        bool blocked = starter == SIZE_MAX || (kept > starter + 1 && f->marks[kept - 1].combining >= mark.combining);
        uint32_t composed = blocked ? 0 : compose(f->marks[starter].code, mark.code);
        if (composed != 0) {
            f->marks[starter].code = composed;
            continue;
        }
        if (mark.combining == 0)
            starter = kept;
        f->marks[kept++] = mark;
    }
    return kept;
}

static int flush(struct folding *f)
{
    int r = 0;
    order(f);
    f->count = put_together(f);
    for (size_t i = 0; i < f->count && r == 0; i++) {
        uint8_t text[UTF8_SIZE_MAX];
        uint32_t code = f->marks[i].code;
        r = code >= BYTE_BASE ? buffer_append_byte(f->out, (uint8_t)(code - BYTE_BASE))
                              : buffer_append(f->out, text, utf8_encode(code, text));
    }
    f->count = 0;
    return r;
}

/* Whether a starter may be one with what stands before it; few are. */
static bool may_follow(const struct folding *f, uint32_t code)
{
    return f->count > 0 && compose(f->marks[f->count - 1].code, code) != 0;
}

static int add(struct folding *f, uint32_t code)
{
    uint32_t combining = class_of(code);
    int r = 0;
    if (combining == 0 && f->count > 0) {
        /* What is complete is put together first: a syllable's vowel may be followed by its last consonant. */
        if (f->count > 1) {
            order(f);
            f->count = put_together(f);
        }
        if (!may_follow(f, code))
            r = flush(f);
    }
    if (r == 0)
        r = vector_reserve(&f->marks, &f->capacity, f->count + 1);
    if (r == 0)
        f->marks[f->count] = (struct mark){.code = code, .combining = combining, .index = f->count};
    f->count += r == 0;
    return r;
}

/* A code point, folded and decomposed. */
static int take(struct folding *f, uint32_t code)
{
    if (is_in(code, HANGUL_BASE, HANGUL_COUNT)) {
        uint32_t index = code - HANGUL_BASE, trail = index % TRAIL_COUNT;
        int r = add(f, LEAD_BASE + index / (VOWEL_COUNT * TRAIL_COUNT));
        if (r == 0)
            r = add(f, VOWEL_BASE + index / TRAIL_COUNT % VOWEL_COUNT);
        return r == 0 && trail > 0 ? add(f, TRAIL_BASE + trail) : r;
    }
    const struct fold_entry *entry = find_entry(code);
    int r = entry ? 0 : add(f, code);
    for (size_t i = 0; entry && i < entry->count && r == 0; i++)
        r = add(f, fold_points[entry->at + i]);
    return r;
}

/* Letters of ASCII, which nothing is put together with yet. */
static int fold_ascii(struct bytes text, struct buffer *out)
{
    uint8_t *to;
    int r = buffer_extend(out, text.size, &to);
    for (size_t i = 0; r == 0 && i < text.size; i++)
        to[i] = text.data[i] >= 'A' && text.data[i] <= 'Z' ? (uint8_t)(text.data[i] + ('a' - 'A')) : text.data[i];
    return r;
}

int fold_text(struct bytes text, struct buffer *out)
{
    struct folding f = {.out = out};
    size_t plain = 0;
    while (plain < text.size && text.data[plain] < 0x80)
        plain++;
    if (plain < text.size && plain > 0)
        plain--; /* a mark may follow it */
    int r = fold_ascii(bytes_slice(text, 0, plain), out);
    for (size_t at = plain, size; r == 0 && at < text.size; at += size) {
        uint32_t code = BYTE_BASE + text.data[at];
        size = utf8_decode(bytes_slice(text, at, text.size), &code);
        size = size > 0 ? size : 1;
        r = take(&f, code);
    }
    if (r == 0)
        r = flush(&f);
    free(f.marks);
    return r;
}
