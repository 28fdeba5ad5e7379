/* The table of configuration fields. Not installed. */
#pragma once

#include "layout.h"

#define WINDOW_COUNT_MAX 1000000

enum field_kind { KIND_NUMBER, KIND_PERCENT, KIND_TIME, KIND_WORD, KIND_WINDOW };

struct config_field {
    const char *name;
    enum field_kind kind;
    size_t offset;
    uint64_t least, most;     /* KIND_PERCENT: in thousandths */
    size_t fraction;          /* KIND_PERCENT: where the thousandths are; 0: whole percents only */
    const char *const *words; /* KIND_WORD: by value, ended by NULL */
    const char *zero;         /* what 0 is called; NULL: "off" */
};

extern const struct config_field config_fields[];
extern const size_t config_field_count;

/* A preset's values, and nothing given. Which one: 0 is "default". */
void config_base(uint32_t preset, struct breaker_config *ret_config);

/* Set one field of the table, and nothing that follows it. */
int config_store(struct breaker_config *config, const struct config_field *field, const char *value,
                 struct breaker_problem *ret_problem);
const struct config_field *config_field_find(const char *name);

uint64_t config_value(const struct breaker_config *config, const struct config_field *field);
void config_value_format(const struct breaker_config *config, const struct config_field *field, char *buffer,
                         size_t size);

/* 0 as "0", else the largest unit that divides it: "90s", "800ms". */
void config_time_format(uint64_t ns, char *buffer, size_t size);
bool config_time_parse(const char *text, uint64_t *ret_ns);

/* Fill a problem (may be NULL). Returns BREAKER_E_CONFIG, or 0 for a warning. */
int problem_say(struct breaker_problem *ret_problem, const char *field, const char *value, const char *range,
                const char *why, int is_warning);

/* Write a checked configuration as rules; geometry as given. */
void rules_write(struct rules *rules, const struct breaker_config *config, uint64_t geometry,
                 uint64_t serial);

/* And back. */
void rules_read(const struct rules *rules, struct breaker_config *ret_config);

/* breaker_config_check(), and does it fit this region? */
int config_check_in(const struct breaker_config *config, const struct breaker_region *region,
                    struct breaker_problem *ret_problem);
