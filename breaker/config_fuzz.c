/* Fuzzer: any text as a configuration, which is what `breaker NAME …` of nginx hands over, word by word. It is taken or
 * refused with a reason that is a whole sentence; refused, it changes nothing; taken, it is within its ranges, and what
 * breaker_config_format() makes of it reads back as the same.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "breaker.h"

#define TEXT_MAX  4096
#define BLANKS    " \t\n"
#define FORMATTED 512 /* as breaker.h promises */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fail(const char *why, const char *text)
{
    fprintf(stderr, "config_fuzz: %s: %s\n", why, text);
    abort();
}

static int is_ended(const char *text, size_t size)
{
    return memchr(text, 0, size) != NULL;
}

static void check_problem(const struct breaker_problem *problem, const char *text)
{
    if (!is_ended(problem->field, sizeof(problem->field)) || !is_ended(problem->value, sizeof(problem->value)) ||
        !is_ended(problem->range, sizeof(problem->range)) || !is_ended(problem->message, sizeof(problem->message)))
        fail("a problem without an end", text);
}

/* What was taken: legal as a whole or refused with a reason, and the same after a round trip through text. */
static void check_taken(const struct breaker_config *config, const char *text)
{
    char formatted[FORMATTED];
    struct breaker_config again;
    struct breaker_problem problem;
    memset(&problem, 0x5a, sizeof(problem));
    int answer = breaker_config_check(config, &problem);
    check_problem(&problem, text);
    if (answer != 0 && (!problem.field[0] || !problem.message[0]))
        fail("refused as a whole, without a reason", text);
    if (breaker_config_format(config, formatted, sizeof(formatted)) != 0)
        fail("too long as text", text);
    breaker_config_init(&again);
    int is_parsed = breaker_config_parse(&again, formatted, NULL) == 0;
    again.preset = config->preset; /* as text all of it is given */
    again.given = config->given;
    if (config->window_count && config->window_count < config->min_calls)
        again.min_calls = config->min_calls; /* text tells what it comes to */
    if (!is_parsed || memcmp(&again, config, sizeof(again)) != 0)
        fail("another configuration after a round trip", formatted);
    if (config->probes < 1 || config->probes > BREAKER_PROBES_MAX || config->slices < 1 ||
        config->slices > BREAKER_SLICES_MAX || config->failure_rate > 100 || config->slow_rate > 100 || config->jitter > 50)
        fail("out of its range", text);
}

/* "field=value" as the nginx module cuts it. */
static void check_words(char *text)
{
    struct breaker_config config, before;
    struct breaker_problem problem;
    breaker_config_init(&config);
    for (char *word = text + strspn(text, BLANKS), *end; *word; word = end + strspn(end, BLANKS)) {
        end = word + strcspn(word, BLANKS);
        if (*end)
            *end++ = 0;
        char *value = strchr(word, '=');
        if (!value)
            continue;
        *value++ = 0;
        before = config;
        if (breaker_config_set(&config, word, value, &problem) != 0) {
            check_problem(&problem, word);
            if (!problem.message[0] || memcmp(&before, &config, sizeof(config)) != 0)
                fail("a refused word", word);
        }
    }
    check_taken(&config, "(words)");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[TEXT_MAX + 1];
    struct breaker_config config, before;
    struct breaker_problem problem = {0};
    if (size > TEXT_MAX)
        return 0;
    memcpy(text, data, size);
    text[size] = 0;
    breaker_config_init(&config);
    before = config;
    if (breaker_config_parse(&config, text, &problem) == 0)
        check_taken(&config, text);
    else if (check_problem(&problem, text), !problem.message[0] || memcmp(&before, &config, sizeof(config)) != 0)
        fail("refused without a reason, or changed all the same", text);
    check_words(text);
    return 0;
}
