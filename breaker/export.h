/* Text of a region: a writer that never overruns, and one function a format. Not installed. */
#pragma once

#include <stdarg.h>

#include "layout.h"

/* Counts what the whole needs, writes what fits. */
struct text {
    char *buffer;
    size_t size, length;
};

void text_add(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A JSON string with its quotes. Bytes that are no UTF-8 text become '?': names come from memory others write. */
void text_quote(struct text *text, const char *string);

enum total_kind { TOTAL_IS_CALL, TOTAL_IS_REFUSAL, TOTAL_IS_TRIP };

/* The totals by name, for every format. */
struct total_name {
    const char *name;
    size_t offset; /* in struct breaker_totals */
    enum total_kind kind;
};
extern const struct total_name total_names[];
extern const size_t total_name_count;
uint64_t total_value(const struct breaker_totals *totals, size_t index);

void export_json(struct text *text, struct breaker_region *region, uint64_t now_ns);
void export_metrics(struct text *text, struct breaker_region *region, bool is_openmetrics, uint64_t now_ns);
void export_stream(struct text *text, struct breaker_region *region, uint64_t now_ns, uint64_t wall_ms);
