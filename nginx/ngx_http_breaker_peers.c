/* Server breakers: one for each address of an upstream block, beside or instead of the route's.
 *
 * The balancer chooses; a server whose breaker refuses is given back as if nothing had happened, and the
 * balancer is asked again. It remembers whom it has offered (round robin, least_conn, hash, random and
 * ip_hash all do), so that it offers each server once, the backups after the others. A kept connection to a
 * refused server is closed: the balancer has taken it out of the cache, and there is no way to put an unused
 * one back. */
#include "ngx_http_breaker.h"


static uint32_t ngx_http_breaker_soonest(ngx_http_breaker_upstream_t *wrapped, uint64_t now);


/* the addresses of the block, whose names are the keys; counted once, at configuration */
ngx_int_t
ngx_http_breaker_list_servers(ngx_conf_t *cf, ngx_http_breaker_upstream_t *wrapped)
{
    ngx_uint_t i, n;
    ngx_str_t *name;
    ngx_http_upstream_server_t *server;

    if (ngx_array_init(&wrapped->servers, cf->pool, 4, sizeof(ngx_str_t)) != NGX_OK) {
        return NGX_ERROR;
    }

    if (wrapped->upstream->servers == NULL) {
        return NGX_OK;
    }

    server = wrapped->upstream->servers->elts;

    for (i = 0; i < wrapped->upstream->servers->nelts; i++) {
        for (n = 0; n < server[i].naddrs; n++) {
            name = ngx_array_push(&wrapped->servers);
            if (name == NULL) {
                return NGX_ERROR;
            }

            *name = server[i].addrs[n].name;
        }
    }

    return NGX_OK;
}


static void
ngx_http_breaker_server(ngx_http_breaker_upstream_t *wrapped, ngx_str_t *name, uint64_t now,
                        struct breaker *ret_breaker)
{
    (void) breaker_key(&wrapped->peers->breaker->handle, name->data, name->len, now, ret_breaker);
}


/* May this one stay away? Of the servers that are open, the first in the block's order do, up to max_ejected;
 * an operator's order always counts. */
static ngx_uint_t
ngx_http_breaker_may_eject(ngx_http_breaker_upstream_t *wrapped, ngx_str_t *name, uint64_t now)
{
    ngx_str_t *names;
    ngx_uint_t i, open, allowed;
    struct breaker breaker;
    enum breaker_state state;

    names = wrapped->servers.elts;
    allowed = wrapped->servers.nelts * wrapped->peers->max_ejected / 100;

    for (i = 0, open = 0; i < wrapped->servers.nelts; i++) {
        ngx_http_breaker_server(wrapped, &names[i], now, &breaker);
        state = breaker_state(&breaker);

        if (names[i].len == name->len && ngx_strncmp(names[i].data, name->data, name->len) == 0) {
            return state != BREAKER_OPEN || open < allowed;
        }

        open += state == BREAKER_OPEN;
    }

    return 1;
}


/* May any server beside this one be asked next? If not, nginx must not drop this one's answer to try. One pass in the block's
 * order, as above; whom the balancer has offered in this call it offers no more. A half-open server may turn out to refuse. */
ngx_uint_t
ngx_http_breaker_has_other(ngx_http_breaker_peer_t *p, ngx_str_t *name)
{
    uint64_t now;
    ngx_str_t *names;
    ngx_uint_t i, open, allowed, others;
    struct breaker breaker;
    enum breaker_state state;

    now = ngx_http_breaker_now();
    names = p->peers->servers.elts;
    allowed = p->peers->servers.nelts * p->peers->peers->max_ejected / 100;

    for (i = 0, open = 0, others = 0; i < p->peers->servers.nelts; i++) {
        ngx_http_breaker_server(p->peers, &names[i], now, &breaker);
        state = breaker_state(&breaker);

        if (names[i].len == name->len && ngx_strncmp(names[i].data, name->data, name->len) == 0) {
            p->tried |= i < 64 ? (uint64_t) 1 << i : 0;

        } else if (i >= 64 || !(p->tried >> i & 1)) {
            others += state != BREAKER_FORCED_OPEN &&
                      (state != BREAKER_OPEN || open >= allowed || breaker_retry_after(&breaker, now) == 0);
        }

        open += state == BREAKER_OPEN;
    }

    return others > 0;
}


/* NGX_OK: this server may be called. NGX_DECLINED: its breaker refuses. */
ngx_int_t
ngx_http_breaker_ask_server(ngx_http_breaker_peer_t *p, ngx_peer_connection_t *pc)
{
    uint64_t now;

    now = ngx_http_breaker_now();
    ngx_http_breaker_server(p->peers, pc->name, now, &p->server);

    if (breaker_acquire(&p->server, now, ngx_http_breaker_flags(p->request, p->ctx->conf), &p->permit) == 0) {
        return NGX_OK;
    }

    return ngx_http_breaker_may_eject(p->peers, pc->name, now) ? NGX_DECLINED : NGX_OK;
}


/* what the balancer handed out goes back to it */
void
ngx_http_breaker_give_back(ngx_http_breaker_peer_t *p, ngx_peer_connection_t *pc)
{
    ngx_uint_t tries;
    ngx_connection_t *c;

    tries = pc->tries;
    p->free(pc, p->data, 0);
    pc->tries = tries; /* nothing was tried */

    c = pc->connection;

    if (c != NULL) {
        pc->connection = NULL;
        pc->cached = 0;

#if (NGX_HTTP_SSL)
        if (c->ssl) {
            c->ssl->no_wait_shutdown = 1;
            c->ssl->no_send_shutdown = 1;
            (void) ngx_ssl_shutdown(c);
        }
#endif

        if (c->pool) {
            ngx_destroy_pool(c->pool);
        }

        ngx_close_connection(c);
    }

    pc->sockaddr = NULL;
    pc->name = NULL;
}


/* All servers are ejected: the route is open, whatever its own breaker says (G6). */
void
ngx_http_breaker_refuse_all(ngx_http_breaker_peer_t *p)
{
    uint64_t now;
    ngx_http_breaker_ctx_t *ctx = p->ctx;

    now = ngx_http_breaker_now();
    (void) breaker_release(&ctx->handle, &ctx->permit, now);

    ctx->refused = 1;
    ctx->judged = 1;
    ctx->retry_after = ngx_http_breaker_soonest(p->peers, now);
    ngx_str_set(&ctx->reason, "servers");
}


/* seconds until the first of them may be asked again */
static uint32_t
ngx_http_breaker_soonest(ngx_http_breaker_upstream_t *wrapped, uint64_t now)
{
    uint32_t seconds, soonest;
    ngx_str_t *names;
    ngx_uint_t i;
    struct breaker breaker;

    names = wrapped->servers.elts;

    for (i = 0, soonest = UINT32_MAX; i < wrapped->servers.nelts; i++) {
        ngx_http_breaker_server(wrapped, &names[i], now, &breaker);
        seconds = breaker_retry_after_seconds(&breaker, now);
        soonest = ngx_min(soonest, seconds);
    }

    return soonest == UINT32_MAX ? 1 : soonest;
}
