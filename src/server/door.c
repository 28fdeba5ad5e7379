/* The door of the server: what auth.h knows, asked for every request; GET /v1/auth, which gives the same answers to a
 * gateway; and a look at the files now and then. */

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "os/clock.h"
#include "server/internal.h"

struct door {
    struct server *server;
    struct http_timer look;
};

static volatile sig_atomic_t reread_asked;

/* ---- a request at the door ---- */

/* 0, or 401 with what to say in WWW-Authenticate (RFC 6750 §3). Without files of tokens anyone may do anything. */
static unsigned admit(const struct server *server, struct http_request *request, struct auth_grant *ret_grant)
{
    const char *reason;

    if (!server->auth) {
        *ret_grant = (struct auth_grant){.role = ROLE_OPERATOR};
        return 0;
    }
    int r = auth_admit(server->auth, http_request_header(request, "Authorization"), http_request_is_answered(request),
                       ret_grant, &reason);
    if (r == AUTH_E_MISSING)
        http_header(request, "WWW-Authenticate", "Bearer");
    else if (r == AUTH_E_REFUSED)
        http_header_printf(request, "WWW-Authenticate",
                           "Bearer error=\"invalid_token\", error_description=\"%s\"", reason);
    return r == 0 ? 0 : 401;
}

static unsigned refuse_role(struct http_request *request, const char *needed)
{
    http_header_printf(request, "WWW-Authenticate", "Bearer error=\"insufficient_scope\", scope=\"%s\"",
                       needed);
    return 403;
}

/* For how long the grant needs no second look. */
static uint64_t authorized_ms(const struct auth_grant *grant)
{
    int64_t left_us = grant->until_s * 1000000 - (int64_t)os_realtime_us();

    if (grant->until_s == 0 || left_us > AUTH_ASK_MS * INT64_C(1000))
        return AUTH_ASK_MS;
    return left_us > 0 ? (uint64_t)left_us / 1000 + 1 : 0;
}

unsigned door_authorize(void *user, struct http_request *request)
{
    const struct route_about *about = http_request_route(request)->data;
    struct auth_grant grant;
    unsigned status = admit(user, request, &grant);

    if (status == 0 && grant.role < about->role)
        status = refuse_role(request, role_name(about->role));
    if (status == 0 && ((const struct server *)user)->auth)
        http_request_authorized_for(request, authorized_ms(&grant));
    return status;
}

void door_caller(struct http_request *request, char ret_caller[AUTH_CALLER_SIZE])
{
    const struct server *server = server_of(request);
    struct auth_grant grant;
    const char *reason;

    ret_caller[0] = '\0';
    if (server->auth &&
        auth_admit(server->auth, http_request_header(request, "Authorization"), false, &grant, &reason) == 0)
        memcpy(ret_caller, grant.caller, AUTH_CALLER_SIZE);
}

/* ---- GET /v1/auth ---- */

/* Whether the role is held; false: answered. One that does not exist is held by nobody, and is no 400: a gateway
 * understands 401 and 403 only. */
static bool holds(struct http_request *request, const struct auth_grant *grant, struct bytes name)
{
    enum role role = role_from_name(name);

    if (role == ROLE_NONE) {
        http_header(request, "Cache-Control", "no-store");
        http_answer_error(request, 403, "forbidden",
                          "There is no such role; there are reader, writer and operator.");
        return false;
    }
    if (grant->role >= role)
        return true;
    http_header(request, "Cache-Control", "no-store");
    http_answer_error(request, refuse_role(request, role_name(role)), "forbidden",
                      "This token does not have the role %s.", role_name(role));
    return false;
}

/* Who wants to know asks for a role by `role=`, by X-Required-Role, or by both: then both must be held, so that a field
 * a client slipped through the gateway can only ask for more. */
void handle_auth(struct http_request *request)
{
    const char *field = http_request_header(request, "X-Required-Role");
    struct auth_grant grant;
    struct bytes name;

    http_header(request, "Vary", "Authorization, X-Required-Role");
    unsigned status = admit(server_of(request), request, &grant);
    if (status != 0) {
        http_header(request, "Cache-Control", "no-store");
        http_answer_error(request, status, "unauthorized",
                          "A bearer token is needed that this server knows.");
        return;
    }
    if (parameters_refused(request) || !holds(request, &grant, BYTES_LITERAL("reader")) ||
        (http_request_parameter(request, "role", &name) && !holds(request, &grant, name)) ||
        (field && !holds(request, &grant, bytes_from_string(field))))
        return;
    http_header(request, "Daybook-Roles", role_list(grant.role));
    http_header_printf(request, "Cache-Control", "max-age=%d", AUTH_CACHE_S);
    http_answer_text(request, 204, NULL, NULL);
}

/* ---- reading the files again ---- */

static void look_again(struct door *door)
{
    int r = http_timer_set(door->server->http, &door->look, AUTH_REREAD_MS);

    (void)r; /* no memory: the files stay as they were read */
}

static void on_look(struct http_task *task)
{
    struct door *door = (struct door *)((char *)task - offsetof(struct door, look.task));
    char said[SERVER_ERROR_SIZE];
    bool asked = reread_asked;

    reread_asked = 0;
    if (auth_reread(door->server->auth, asked, said)) {
        fprintf(stderr, "daybook serve: %s\n", said);
        http_authorize_again(door->server->http);
    }
    look_again(door);
}

static void on_hangup(int number)
{
    reread_asked = 1;
}

int door_new(struct server *server, struct door **ret_door)
{
    struct sigaction action = {.sa_handler = on_hangup, .sa_flags = SA_RESTART};
    char text[SERVER_ERROR_SIZE];
    struct door *door;

    if (!server->auth) {
        *ret_door = NULL;
        return 0;
    }
    door = calloc(1, sizeof(*door));
    if (!door)
        return -ENOMEM;
    door->server = server;
    door->look.task.run = on_look;
    auth_describe(server->auth, text);
    if (strchr(text, ';'))
        fprintf(stderr, "daybook serve: %s\n", text);
    sigaction(SIGHUP, &action, NULL);
    look_again(door);
    *ret_door = door;
    return 0;
}

void door_free(struct door *door)
{
    free(door);
}
