/* Configuration as text and back. One table names every field, its kind and its range: parser, formatter,
 * checks and the manual's table read
 * it. */
#include <stdio.h>
#include <stdlib.h>

#include "config.h"

#define S           UINT64_C(1000000000)
#define FIELD(name) offsetof(struct breaker_config, name)

static const char *const mode_words[] = {"auto", "forced_open", "forced_closed", "shadow", NULL};
static const char *const switch_words[] = {"off", "on", NULL};
static const char *const every_words[] = {"failures", "every", NULL};

#define WHOLE 100000

const struct config_field config_fields[] = {
    {"mode", KIND_WORD, FIELD(mode), 0, 3, 0, mode_words, NULL},
    {"window", KIND_WINDOW, FIELD(window_ns), 0, 0, 0, NULL, NULL},
    {"slices", KIND_NUMBER, FIELD(slices), 2, BREAKER_SLICES_MAX, 0, NULL, NULL},
    {"min_calls", KIND_NUMBER, FIELD(min_calls), 1, 1000000, 0, NULL, NULL},
    {"failure_rate", KIND_PERCENT, FIELD(failure_rate), 0, WHOLE, FIELD(failure_rate_milli), NULL, NULL},
    {"consecutive", KIND_NUMBER, FIELD(consecutive), 0, 1000000, 0, NULL, NULL},
    {"slow_rate", KIND_PERCENT, FIELD(slow_rate), 0, WHOLE, FIELD(slow_rate_milli), NULL, NULL},
    {"slow_call", KIND_TIME, FIELD(slow_call_ns), 0, 3600 * S, 0, NULL, NULL},
    {"hung", KIND_WORD, FIELD(hung), 0, 1, 0, switch_words, NULL},
    {"evaluate", KIND_WORD, FIELD(every), 0, 1, 0, every_words, NULL},
    {"open", KIND_TIME, FIELD(open_ns), S / 1000, 86400 * S, 0, NULL, NULL},
    {"open_max", KIND_TIME, FIELD(open_max_ns), 0, 86400 * S, 0, NULL, NULL},
    {"jitter", KIND_PERCENT, FIELD(jitter), 0, WHOLE / 2, 0, NULL, NULL},
    {"probes", KIND_NUMBER, FIELD(probes), 1, BREAKER_PROBES_MAX, 0, NULL, NULL},
    {"probe_ok", KIND_NUMBER, FIELD(probe_ok), 0, BREAKER_PROBES_MAX, 0, NULL, "rate"},
    {"max_in_flight", KIND_NUMBER, FIELD(max_in_flight), 0, 1000000, 0, NULL, NULL},
    {"probe_lease", KIND_TIME, FIELD(probe_lease_ns), S / 1000, 3600 * S, 0, NULL, NULL},
    {"ramp", KIND_TIME, FIELD(ramp_ns), 0, 3600 * S, 0, NULL, NULL},
    {"forget", KIND_TIME, FIELD(forget_ns), 0, 86400 * S, 0, NULL, NULL},
    {"retry_after_max", KIND_TIME, FIELD(retry_after_max_ns), 0, 86400 * S, 0, NULL, NULL},
    {"key_idle", KIND_TIME, FIELD(key_idle_ns), S / 1000, 86400 * S, 0, NULL, NULL},
};

const size_t config_field_count = sizeof(config_fields) / sizeof(config_fields[0]);

void breaker_config_init(struct breaker_config *config)
{
    *config = (struct breaker_config){
        .struct_size = sizeof(*config),
        .window_ns = 10 * S,
        .slices = 20,
        .min_calls = 20,
        .failure_rate = 50,
        .consecutive = 10,
        .open_ns = 5 * S,
        .open_max_ns = 60 * S,
        .jitter = 15,
        .probes = 3,
        .probe_lease_ns = 10 * S,
        .ramp_ns = 10 * S,
        .forget_ns = 60 * S,
        .retry_after_max_ns = 300 * S,
        .key_idle_ns = 60 * S,
    };
}

/* ---- problems ---- */

int problem_say(struct breaker_problem *ret_problem, const char *field, const char *value, const char *range,
                const char *why, int is_warning)
{
    struct breaker_problem unheard;
    struct breaker_problem *problem = ret_problem ? ret_problem : &unheard;
    snprintf(problem->field, sizeof(problem->field), "%s", field);
    snprintf(problem->value, sizeof(problem->value), "%s", value);
    snprintf(problem->range, sizeof(problem->range), "%s", range);
    snprintf(problem->message, sizeof(problem->message), "%s=%s: %s (%s)", problem->field, problem->value,
             why, problem->range);
    problem->is_warning = is_warning;
    return is_warning ? 0 : BREAKER_E_CONFIG;
}

static void range_text(const struct config_field *field, char *buffer, size_t size)
{
    char least[32], most[32];
    if (field->kind == KIND_WORD) {
        size_t at = 0;
        for (int i = 0; field->words[i] && at < size; i++)
            at += (size_t)snprintf(buffer + at, size - at, "%s%s", i ? " | " : "one of ", field->words[i]);
    } else if (field->kind == KIND_TIME) {
        config_time_format(field->least, least, sizeof(least));
        config_time_format(field->most, most, sizeof(most));
        snprintf(buffer, size, "a time from %s to %s", least, most);
    } else if (field->kind == KIND_WINDOW)
        snprintf(buffer, size, "a time from 20ms to 2h, or count:1 to count:1000000");
    else if (field->zero)
        snprintf(buffer, size, "%s, or 1 to %llu", field->zero, (unsigned long long)field->most);
    else if (field->kind == KIND_PERCENT)
        snprintf(buffer, size, "%llu to %llu%%, %s", (unsigned long long)field->least / 1000,
                 (unsigned long long)field->most / 1000, field->fraction ? "at most three decimals" : "whole");
    else
        snprintf(buffer, size, "%llu to %llu", (unsigned long long)field->least, (unsigned long long)field->most);
}

static int problem_range(struct breaker_problem *ret_problem, const struct config_field *field,
                         const char *value, const char *why)
{
    char range[80];
    range_text(field, range, sizeof(range));
    return problem_say(ret_problem, field->name, value, range, why, 0);
}

/* ---- values ---- */

static const struct {
    const char *unit;
    uint64_t ns;
} units[] = {{"h", 3600 * S}, {"m", 60 * S}, {"s", S}, {"ms", S / 1000}, {"us", 1000}, {"ns", 1}};

void config_time_format(uint64_t ns, char *buffer, size_t size)
{
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
        if (ns >= units[i].ns && ns % units[i].ns == 0) {
            snprintf(buffer, size, "%llu%s", (unsigned long long)(ns / units[i].ns), units[i].unit);
            return;
        }
    snprintf(buffer, size, "0");
}

/* Digits, then a unit out of the table. A number without unit is only legal when it is zero. */
bool config_time_parse(const char *text, uint64_t *ret_ns)
{
    char *end;
    if (*text < '0' || *text > '9' || strlen(text) > 24)
        return false;
    unsigned long long number = strtoull(text, &end, 10);
    if (number == 0 && (*end == 0 || strcmp(text, "0") == 0)) {
        *ret_ns = 0;
        return *end == 0;
    }
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
        if (strcmp(end, units[i].unit) == 0)
            return !__builtin_mul_overflow((uint64_t)number, units[i].ns, ret_ns);
    return false;
}

static bool number_parse(const char *text, uint64_t *ret_number)
{
    char *end;
    if (*text < '0' || *text > '9' || strlen(text) > 18)
        return false;
    *ret_number = strtoull(text, &end, 10);
    return *end == 0;
}

/* "50%", "50", "33.3%": in thousandths. Three digits behind the point at most, none where only whole percents do. */
static bool percent_parse(const struct config_field *field, const char *text, uint64_t *ret_thousandths)
{
    char *end;
    if (*text < '0' || *text > '9' || strlen(text) > 12)
        return false;
    *ret_thousandths = strtoull(text, &end, 10) * 1000;
    if (*end == '.' && field->fraction) {
        uint64_t worth = 100;
        if (end[1] < '0' || end[1] > '9')
            return false;
        for (end++; *end >= '0' && *end <= '9' && worth > 0; end++, worth /= 10)
            *ret_thousandths += (uint64_t)(*end - '0') * worth;
    }
    return *end == 0 || strcmp(end, "%") == 0;
}

static bool value_parse(const struct config_field *field, const char *text, uint64_t *ret_value)
{
    const char *zero = field->zero ? field->zero : "off";
    if (field->kind != KIND_WORD && field->least == 0 && strcmp(text, zero) == 0) {
        *ret_value = 0;
        return true;
    }
    if (field->kind == KIND_TIME)
        return config_time_parse(text, ret_value);
    if (field->kind == KIND_NUMBER)
        return number_parse(text, ret_value);
    if (field->kind == KIND_PERCENT)
        return percent_parse(field, text, ret_value);
    for (uint64_t i = 0; field->words[i]; i++)
        if (strcmp(field->words[i], text) == 0) {
            *ret_value = i;
            return true;
        }
    return false;
}

static int window_set(struct breaker_config *config, const struct config_field *field, const char *value,
                      struct breaker_problem *ret_problem)
{
    uint64_t number;
    if (strncmp(value, "count:", 6) == 0) {
        if (!number_parse(value + 6, &number) || number < 1 || number > WINDOW_COUNT_MAX)
            return problem_range(ret_problem, field, value, "out of range");
        config->window_count = (uint32_t)number;
        config->window_ns = 0;
        return 0;
    }
    if (!config_time_parse(value, &number))
        return problem_range(ret_problem, field, value, "neither a time nor a count of calls");
    if (number < 2 * SLICE_NS_MIN || number > 7200 * S)
        return problem_range(ret_problem, field, value, "out of range");
    config->window_ns = number;
    config->window_count = 0;
    return 0;
}

const struct config_field *config_field_find(const char *name)
{
    for (size_t i = 0; i < config_field_count; i++)
        if (strcmp(config_fields[i].name, name) == 0)
            return &config_fields[i];
    return NULL;
}

static uint32_t number_at(const struct breaker_config *config, size_t offset)
{
    uint32_t number;
    memcpy(&number, (const char *)config + offset, sizeof(number));
    return number;
}

uint64_t config_value(const struct breaker_config *config, const struct config_field *field)
{
    if (field->kind == KIND_PERCENT)
        return number_at(config, field->offset) * UINT64_C(1000) +
               (field->fraction ? number_at(config, field->fraction) : 0);
    if (field->kind != KIND_TIME && field->kind != KIND_WINDOW)
        return number_at(config, field->offset);
    uint64_t ns;
    memcpy(&ns, (const char *)config + field->offset, sizeof(ns));
    return ns;
}

static void value_store(struct breaker_config *config, const struct config_field *field, uint64_t value)
{
    char *at = (char *)config + field->offset;
    uint32_t number = (uint32_t)(field->kind == KIND_PERCENT ? value / 1000 : value);
    uint32_t fraction = (uint32_t)(value % 1000);
    if (field->kind == KIND_TIME)
        memcpy(at, &value, sizeof(value));
    else
        memcpy(at, &number, sizeof(number));
    if (field->fraction)
        memcpy((char *)config + field->fraction, &fraction, sizeof(fraction));
}

int config_store(struct breaker_config *config, const struct config_field *field, const char *value,
                 struct breaker_problem *ret_problem)
{
    uint64_t number;
    if (field->kind == KIND_WINDOW)
        return window_set(config, field, value, ret_problem);
    if (!value_parse(field, value, &number))
        return problem_range(ret_problem, field, value, "not a value of this field");
    if (number < field->least || number > field->most)
        return problem_range(ret_problem, field, value, "out of range");
    value_store(config, field, number);
    return 0;
}

/* ---- what follows from what ---- */

static bool is_given(const struct breaker_config *config, const char *name)
{
    return config->given >> (config_field_find(name) - config_fields) & 1;
}

/* The fields that depend on others, as the preset means them beside these others. */
static void derive(const struct breaker_config *base, const struct breaker_config *c, struct breaker_config *ret)
{
    uint64_t slices = c->window_ns / SLICE_NS_MIN, lease = 4 * c->slow_call_ns, most = 3600 * S;
    *ret = *base;
    if (c->window_ns && ret->slices > slices)
        ret->slices = slices > 2 ? (uint32_t)slices : 2;
    if (c->window_ns > ret->slices * SLICE_NS_MAX)
        ret->slices = (uint32_t)((c->window_ns + SLICE_NS_MAX - 1) / SLICE_NS_MAX);
    if (ret->open_max_ns && ret->open_max_ns < c->open_ns)
        ret->open_max_ns = c->open_ns;
    if (ret->probe_lease_ns < lease)
        ret->probe_lease_ns = lease < most ? lease : most;
    if (!c->slow_call_ns)
        ret->slow_rate = ret->slow_rate_milli = 0;
}

/* After a change: what was not given, and is what followed from before, is what follows now. */
static void follow(const struct breaker_config *before, struct breaker_config *config)
{
    static const char *const names[] = {"slices", "open_max", "probe_lease", "slow_rate"};
    struct breaker_config base, then, now;
    config_base(config->preset, &base);
    derive(&base, before, &then);
    derive(&base, config, &now);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const struct config_field *field = config_field_find(names[i]);
        if (!is_given(config, names[i]) && config_value(config, field) == config_value(&then, field))
            value_store(config, field, config_value(&now, field));
    }
}

/* Set by someone, be it by text or by hand. */
static bool is_own(const struct breaker_config *config, const char *name)
{
    struct breaker_config base;
    const struct config_field *field = config_field_find(name);
    config_base(config->preset, &base);
    return is_given(config, name) || config_value(config, field) != config_value(&base, field);
}

int breaker_config_set(struct breaker_config *config, const char *name, const char *value,
                       struct breaker_problem *ret_problem)
{
    struct breaker_config before = *config;
    if (strcmp(name, "preset") == 0)
        return breaker_config_preset(config, value, ret_problem);
    const struct config_field *field = config_field_find(name);
    if (!field)
        return problem_say(ret_problem, name, value, "see the table of fields", "no such field", 0);
    int answer = config_store(config, field, value, ret_problem);
    if (answer)
        return answer;
    config->given |= UINT32_C(1) << (field - config_fields);
    follow(&before, config);
    return 0;
}

/* The next "name=value" of a text, cut in two; *text goes on behind it. 0 at the end. */
static int pair_next(const char **text, char pair[96], char **ret_value, struct breaker_problem *ret_problem)
{
    *text += strspn(*text, " \t\r\n;");
    size_t length = strcspn(*text, " \t\r\n;");
    *ret_value = NULL;
    if (length == 0)
        return 0;
    snprintf(pair, 96, "%.*s", (int)(length < 96 ? length : 96), *text);
    char *equals = strchr(pair, '=');
    if (!equals || length >= 96)
        return problem_say(ret_problem, "", pair, "name=value, separated by blanks", "not a pair", 0);
    *equals = 0;
    *ret_value = equals + 1;
    *text += length;
    return 0;
}

/* One at a time, into a copy, so that a mistake leaves everything as it was; presets first, whatever the order. */
int breaker_config_parse(struct breaker_config *config, const char *text, struct breaker_problem *ret_problem)
{
    struct breaker_config copy = *config;
    char pair[96], *value;
    for (int round = 0; round < 2; round++)
        for (const char *at = text;;) {
            int answer = pair_next(&at, pair, &value, ret_problem);
            if (answer)
                return answer;
            if (!value)
                break;
            if ((strcmp(pair, "preset") == 0) != (round == 0))
                continue;
            answer = breaker_config_set(&copy, pair, value, ret_problem);
            if (answer)
                return answer;
        }
    *config = copy;
    return 0;
}

int breaker_config_format(const struct breaker_config *config, char *buffer, size_t size)
{
    size_t at = 0;
    char value[40];
    for (size_t i = 0; i < config_field_count; i++) {
        const struct config_field *field = &config_fields[i];
        config_value_format(config, field, value, sizeof(value));
        int wrote = snprintf(at < size ? buffer + at : NULL, at < size ? size - at : 0, "%s%s=%s",
                             at ? " " : "", field->name, value);
        at += (size_t)wrote;
    }
    return at < size ? 0 : BREAKER_E_SPACE;
}

static void percent_format(uint64_t thousandths, char *buffer, size_t size)
{
    uint64_t fraction = thousandths % 1000;
    int digits = 3;
    for (; fraction && fraction % 10 == 0; digits--)
        fraction /= 10;
    if (fraction)
        snprintf(buffer, size, "%llu.%0*llu%%", (unsigned long long)(thousandths / 1000), digits,
                 (unsigned long long)fraction);
    else
        snprintf(buffer, size, "%llu%%", (unsigned long long)(thousandths / 1000));
}

void config_value_format(const struct breaker_config *config, const struct config_field *field, char *buffer,
                         size_t size)
{
    uint64_t value = config_value(config, field);
    if (field->offset == FIELD(min_calls) && config->window_count && config->window_count < value)
        value = config->window_count; /* what it comes to */
    if (field->kind == KIND_WINDOW && config->window_count)
        snprintf(buffer, size, "count:%u", config->window_count);
    else if (field->kind == KIND_TIME || field->kind == KIND_WINDOW)
        config_time_format(value, buffer, size);
    else if (field->kind == KIND_WORD)
        snprintf(buffer, size, "%s", value <= field->most ? field->words[value] : field->words[0]);
    else if (field->zero && value == 0)
        snprintf(buffer, size, "%s", field->zero);
    else if (field->kind == KIND_PERCENT)
        percent_format(value, buffer, size);
    else
        snprintf(buffer, size, "%llu", (unsigned long long)value);
}

/* ---- the whole ---- */

static int check_ranges(const struct breaker_config *config, struct breaker_problem *ret_problem)
{
    char value[40];
    for (size_t i = 0; i < config_field_count; i++) {
        const struct config_field *field = &config_fields[i];
        uint64_t number = config_value(config, field);
        bool is_wrong = number < field->least || number > field->most ||
                        (field->fraction && number_at(config, field->fraction) > 999);
        if (field->kind == KIND_WINDOW)
            is_wrong = config->window_count
                           ? config->window_ns != 0 || config->window_count > WINDOW_COUNT_MAX
                           : number < 2 * SLICE_NS_MIN || number > 7200 * S;
        if (!is_wrong)
            continue;
        config_value_format(config, field, value, sizeof(value));
        if (field->kind == KIND_WORD)
            snprintf(value, sizeof(value), "%llu", (unsigned long long)number);
        return problem_range(ret_problem, field, value, "out of range");
    }
    return 0;
}

static int complain(const struct breaker_config *config, struct breaker_problem *ret_problem,
                    const char *name, const char *range, const char *why, int is_warning)
{
    char value[40];
    const struct config_field *field = config_field_find(name);
    if (field->kind == KIND_NUMBER)
        snprintf(value, sizeof(value), "%llu", (unsigned long long)config_value(config, field));
    else
        config_value_format(config, field, value, sizeof(value));
    return problem_say(ret_problem, name, value, range, why, is_warning);
}

/* What fields must hold together. The range names the field it depends on. */
static int check_together(const struct breaker_config *c, struct breaker_problem *ret)
{
    if (c->window_count && c->min_calls > c->window_count && is_own(c, "min_calls"))
        return complain(c, ret, "min_calls", "at most the calls of window=count:…",
                        "the window never holds that many calls, so no rate could ever trip", 0);
    if (c->window_ns && c->window_ns / c->slices < SLICE_NS_MIN)
        return complain(c, ret, "slices", "such that window / slices is at least 10ms",
                        "the slices are too short", 0);
    if (c->window_ns && c->window_ns / c->slices > SLICE_NS_MAX)
        return complain(c, ret, "slices", "such that window / slices is at most 6m",
                        "the slices are too long", 0);
    if (c->probe_ok > c->probes)
        return complain(c, ret, "probe_ok", "at most probes", "more successes than probes", 0);
    if (c->open_max_ns && c->open_max_ns < c->open_ns)
        return complain(c, ret, "open_max", "off, or at least open", "the cap lies below the first open time", 0);
    bool has_slow_rate = c->slow_rate || c->slow_rate_milli, has_failure_rate = c->failure_rate || c->failure_rate_milli;
    if (has_slow_rate && !c->slow_call_ns)
        return complain(c, ret, "slow_rate", "needs slow_call", "no call is ever slow", 0);
    if (c->hung && !(c->slow_call_ns && has_slow_rate))
        return complain(c, ret, "hung", "on needs slow_call and slow_rate", "hung calls count as slow ones",
                        0);
    if (c->hung && c->window_count)
        return complain(c, ret, "hung", "on needs a window of time", "a window of calls sees only ended ones",
                        0);
    if (c->window_ns && c->slow_call_ns >= c->window_ns && (is_own(c, "slow_call") || c->hung))
        return complain(c, ret, "slow_call", "below window",
                        "a slow call ends after the slice it began in was forgotten", 1);
    if (!has_failure_rate && !c->consecutive && !has_slow_rate && c->mode == BREAKER_MODE_AUTO)
        return complain(c, ret, "failure_rate", "or consecutive, or slow_rate above 0",
                        "no rule is on: this breaker never opens by itself", 1);
    return 0;
}

int breaker_config_check(const struct breaker_config *config, struct breaker_problem *ret_problem)
{
    if (ret_problem)
        memset(ret_problem, 0, sizeof(*ret_problem));
    if (config->struct_size != sizeof(*config))
        return problem_say(ret_problem, "struct_size", "", "begin with breaker_config_init()",
                           "made for another version of the library", 0);
    int answer = check_ranges(config, ret_problem);
    return answer ? answer : check_together(config, ret_problem);
}
