/* Everything http reads out of a request's text: targets, queries and the values of header fields. Each input is given to
 * every reader; what they answer is held against what must hold for any text. */

#include <assert.h>
#include <stdlib.h>

#include "http/field.h"
#include "http/http.h"
#include "http/query.h"
#include "http/router.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct http_route routes[] = {
    {"GET", "/"}, {"GET", "/v1/events"}, {"POST", "/v1/streams/{stream}"}, {"GET", "/a/{b}/{c}/{d}"}};

static void read_query(struct bytes text)
{
    size_t count_max = http_query_count(text), count = 0, total = 0;
    uint8_t *memory = malloc(text.size + 1);
    struct http_parameter *parameters = calloc(count_max + 1, sizeof(*parameters));

    assert(memory && parameters);
    memory[text.size] = 0xa5; /* nothing writes behind what was promised */
    if (http_query_parse(text, memory, parameters, count_max, &count) == 0) {
        assert(count == count_max);
        for (size_t i = 0; i < count; i++)
            total += parameters[i].name.size + parameters[i].value.size;
        assert(total <= text.size);
    }
    assert(memory[text.size] == 0xa5);
    free(parameters);
    free(memory);
}

static void find_route(struct bytes text)
{
    uint8_t *memory = malloc(text.size + 1);
    struct http_match match = {0};
    char allow[HTTP_ALLOW_SIZE_MAX];

    assert(memory);
    if (http_route_find(routes, 4, "GET", text, memory, &match, allow) == 0) {
        assert(match.param_count <= HTTP_PARAM_COUNT_MAX);
        for (size_t i = 0; i < match.param_count; i++)
            assert(match.params[i].size > 0 && match.params[i].data >= memory &&
                   match.params[i].data + match.params[i].size <= memory + text.size);
    }
    free(memory);
}

static void read_fields(const char *text)
{
    static const char *const types[] = {"application/json", "text/event-stream"};
    static const char *const hosts[] = {"hotel.example"};
    int chosen = http_accept_choose(text, types, 2);
    int host = http_host_check(text, hosts, 1);

    assert(chosen >= -1 && chosen < 2);
    assert(host >= 0 && host <= HTTP_E_HOST_UNKNOWN);
    if (http_etag_listed(text, "7", false))
        assert(http_etag_listed(text, "7", true));
    (void)http_media_type_is(text, "application/json");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes text = bytes_make(data, size);
    char *string = bytes_dup_string(text);

    assert(string);
    read_query(text);
    find_route(text);
    read_fields(string);
    free(string);
    return 0;
}
