#include "lib/counter_app.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

struct counter {
    int64_t value;
};

static const struct daybook_host *host;
static _Atomic unsigned decide_count;

unsigned counter_app_decide_count(void)
{
    return decide_count;
}

static bool text_is(struct daybook_text text, const char *expected)
{
    return text.size == strlen(expected) && memcmp(text.data, expected, text.size) == 0;
}

static void counter_evolve(struct daybook_state *state, const struct daybook_event *event)
{
    int64_t number;
    if (text_is(host->event_type(event), "CounterChanged") && host->get_integer(event, "by", &number))
        ((struct counter *)state->data)->value += number;
    if (text_is(host->event_type(event), "CounterGrown") && host->get_integer(event, "size", &number))
        host->grow(state, (size_t)number);
}

/* An event's tag `counter:x` is put on by hand here, so that tests can look at two counters in one event as well. */
static void change(struct daybook_out *out, struct daybook_text counter, int64_t by)
{
    host->event(out, "CounterChanged", (struct daybook_text){0});
    host->event_tag(out, "counter", &counter, 1);
    host->put_integer(out, "by", by);
}

static void refuse(struct daybook_out *out, const struct counter *counter)
{
    host->refuse(out, "below-zero", "A counter does not go below zero.");
    host->put_integer(out, "value", counter->value);
}

/* ---- Add ---- */

static const struct daybook_field add_fields[] = {
    {"counter", DAYBOOK_TYPE_TEXT, 1, 64, NULL},
    {"by", DAYBOOK_TYPE_INTEGER, 0, 0, NULL},
};

static void add_tags(const struct daybook_value *values, struct daybook_tags *tags)
{
    host->tag(tags, "counter", &values[0].text, 1);
}

static void add_decide(const struct daybook_state *const states[], const struct daybook_value *values,
                       struct daybook_out *out)
{
    const struct counter *counter = states[0]->data;
    decide_count++;
    if (counter->value + values[1].integer < 0)
        refuse(out, counter);
    else if (values[1].integer != 0)
        change(out, values[0].text, values[1].integer);
}

/* ---- Move ---- */

static const struct daybook_field move_fields[] = {
    {"from", DAYBOOK_TYPE_TEXT, 1, 64, NULL},
    {"to", DAYBOOK_TYPE_TEXT, 1, 64, NULL},
    {"by", DAYBOOK_TYPE_INTEGER, 1, 1000000, NULL},
};

static void move_tags(const struct daybook_value *values, struct daybook_tags *tags)
{
    host->tag(tags, "counter", &values[0].text, 1);
    host->tag(tags, "counter", &values[1].text, 1);
}

static void move_decide(const struct daybook_state *const states[], const struct daybook_value *values,
                        struct daybook_out *out)
{
    const struct counter *from = states[0]->data;
    decide_count++;
    change(out, values[0].text, -values[2].integer);
    change(out, values[1].text, values[2].integer);
    if (from->value < values[2].integer)
        refuse(out, from); /* takes the events back */
}

/* ---- Break ---- */

static const struct daybook_field break_fields[] = {
    {"counter", DAYBOOK_TYPE_TEXT, 1, 64, NULL},
    {"how", DAYBOOK_TYPE_TEXT, 1, 64, NULL},
};

static void break_decide(const struct daybook_state *const states[], const struct daybook_value *values,
                         struct daybook_out *out)
{
    const struct daybook_text how = values[1].text;
    decide_count++;
    if (text_is(how, "put first"))
        host->put_integer(out, "by", 1);
    change(out, values[0].text, 1);
    if (text_is(how, "not closed"))
        host->open_array(out, "list");
    if (text_is(how, "closed twice"))
        host->close(out);
    if (text_is(how, "not UTF-8"))
        host->put_text(out, "text", (struct daybook_text){"\xff", 1});
    if (text_is(how, "same name twice"))
        host->put_integer(out, "by", 2);
    if (text_is(how, "no name"))
        host->put_integer(out, NULL, 2);
    if (text_is(how, "bad type"))
        host->event(out, "", (struct daybook_text){0});
    if (text_is(how, "system type"))
        host->event(out, "$Changed", (struct daybook_text){0});
    if (text_is(how, "bad stream"))
        host->event(out, "CounterChanged", DAYBOOK_TEXT("a/b"));
    if (text_is(how, "no subject"))
        host->event_subject(out, (struct daybook_text){0});
    for (int i = 0; text_is(how, "two subjects") && i < 2; i++)
        host->event_subject(out, DAYBOOK_TEXT("guest-17"));
    if (text_is(how, "unknown kind"))
        host->event_tag(out, "nothing", &values[0].text, 1);
    for (int i = 0; text_is(how, "too deep") && i < 100; i++)
        host->open_object(out, "deeper");
    for (int i = 0; text_is(how, "too many events") && i < 2000; i++)
        change(out, values[0].text, 1);
    for (int i = 0; text_is(how, "too many tags") && i < 600; i++) {
        char part[16];
        int size = snprintf(part, sizeof(part), "%d", i);
        host->event_tag(out, "counter", &(struct daybook_text){part, (size_t)size}, 1);
    }
}

/* ---- Grow ---- */

static const struct daybook_field grow_fields[] = {
    {"counter", DAYBOOK_TYPE_TEXT, 1, 64, NULL},
    {"size", DAYBOOK_TYPE_INTEGER, 0, INT64_C(1) << 40, NULL},
};

static void grow_decide(const struct daybook_state *const states[], const struct daybook_value *values,
                        struct daybook_out *out)
{
    decide_count++;
    host->event(out, "CounterGrown", (struct daybook_text){0});
    host->event_tag(out, "counter", &values[0].text, 1);
    host->put_integer(out, "size", values[1].integer);
}

/* ---- AddFor: what was added is about somebody ---- */

static const struct daybook_field add_for_fields[] = {
    {"counter", DAYBOOK_TYPE_TEXT, 1, 64, NULL},
    {"by", DAYBOOK_TYPE_INTEGER, 0, 0, NULL},
    {"who", DAYBOOK_TYPE_TEXT, 1, 64, NULL},
};

static void add_for_decide(const struct daybook_state *const states[], const struct daybook_value *values,
                           struct daybook_out *out)
{
    const struct counter *counter = states[0]->data;
    decide_count++;
    if (counter->value + values[1].integer < 0) {
        refuse(out, counter);
        return;
    }
    change(out, values[0].text, values[1].integer);
    if (DAYBOOK_HOST_HAS(host, event_subject))
        host->event_subject(out, values[2].text);
}

/* ---- Tags ---- */

static const struct daybook_field tags_fields[] = {{"how", DAYBOOK_TYPE_TEXT, 1, 64, NULL}};

static void tags_tags(const struct daybook_value *values, struct daybook_tags *tags)
{
    static const char long_text[300] = {[0 ... 299] = 'x'};
    if (text_is(values[0].text, "unknown kind"))
        host->tag(tags, "nothing", &values[0].text, 1);
    if (text_is(values[0].text, "too long"))
        host->tag(tags, "counter", &(struct daybook_text){long_text, sizeof(long_text)}, 1);
    for (int i = 0; text_is(values[0].text, "too many") && i < 100; i++)
        host->tag(tags, "counter", &values[0].text, 1);
}

static void tags_decide(const struct daybook_state *const states[], const struct daybook_value *values,
                        struct daybook_out *out)
{
    decide_count++;
}

#define FIELDS(array) .fields = (array), .field_count = sizeof(array) / sizeof((array)[0])

static const struct daybook_command commands[] = {
    {.name = "Add", FIELDS(add_fields), .tags = add_tags, .decide = add_decide},
    {.name = "Move", FIELDS(move_fields), .tags = move_tags, .decide = move_decide},
    {.name = "Break", FIELDS(break_fields), .tags = add_tags, .decide = break_decide},
    {.name = "Grow", FIELDS(grow_fields), .tags = add_tags, .decide = grow_decide},
    {.name = "AddFor", FIELDS(add_for_fields), .tags = add_tags, .decide = add_for_decide},
    {.name = "Tags", FIELDS(tags_fields), .tags = tags_tags, .decide = tags_decide},
};

static const struct daybook_kind kinds[] = {
    {.prefix = "counter", .state_size = sizeof(struct counter), .evolve = counter_evolve},
};

int counter_app(const struct daybook_host *daybook, struct daybook_app *ret_app)
{
    host = daybook;
    ret_app->version = DAYBOOK_APP_VERSION;
    ret_app->name = "counter";
    ret_app->kinds = kinds;
    ret_app->kind_count = 1;
    ret_app->commands = commands;
    ret_app->command_count = sizeof(commands) / sizeof(commands[0]);
    ret_app->state_version = 3;
    return 0;
}
