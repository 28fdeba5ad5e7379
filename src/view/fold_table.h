/* fold_table: what Unicode says of code points, for fold.c. Sorted by the first member of each. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* A code point whose case-folded, decomposed form is another text: fold_points[at] and those behind it. */
struct fold_entry {
    uint32_t code;
    uint16_t at;
    uint8_t count;
};

/* Code points that are put in order by their combining class; all others have 0. */
struct fold_class {
    uint32_t first, last;
    uint8_t combining;
};

/* Two that are one. */
struct fold_pair {
    uint32_t first, second, composed;
};

extern const uint32_t fold_points[];
extern const struct fold_entry fold_entries[];
extern const size_t fold_entry_count;
extern const struct fold_class fold_classes[];
extern const size_t fold_class_count;
extern const struct fold_pair fold_pairs[];
extern const size_t fold_pair_count;
