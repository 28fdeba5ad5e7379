/* daybook clock correct: a clock that was ahead once has left events in the future; from here on times are right again. */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli.h"
#include "client.h"

static int run_clock(int argument_count, char **arguments)
{
    _cleanup_(client_freep) struct client *client = NULL;
    struct client_answer answer;
    struct client_request request = {
        .method = "POST", .path = "/v1/clock", .headers = {"Content-Type: application/json"}};
    int code;

    if (strcmp(arguments[0], "correct") != 0)
        return cli_error(CLI_USAGE, "clock takes correct, not \"%s\"", arguments[0]);
    code = client_open(&client);

    if (code != CLI_DONE)
        return code;
    if (client_send(client, &request, &answer) < 0)
        return cli_error(CLI_FAILED, "%s", client_error(client));
    if (answer.status / 100 != 2)
        code = client_print_problem(&answer);
    else
        printf("times are right from position %" PRIu64 " on\n", answer.position);
    client_answer_deinit(&answer);
    return code;
}

static const struct cli_option no_options[] = {{0}};

const struct cli_command cli_clock = {
    .name = "clock",
    .arguments = "correct",
    .help = "after the clock was ahead: let times go on from now",
    .story = "When the last event lies in the clock's future, all new ones bear its time. Put the clock right, then say so here: an\n"
             "event of the journal declares it. Order stays; a time is looked up as if what stands before it had happened by then.\n\n"
             "  daybook clock correct",
    .options = no_options,
    .argument_count_min = 1,
    .argument_count_max = 1,
    .run = run_clock,
};
