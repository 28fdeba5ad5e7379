/* Before the call: route breakers at the first peer.get, server breakers at each one.
 *
 * peer.init is wrapped in postconfiguration, after every directive and every module's init_main_conf, so that
 * the order of `keepalive`, `breaker_peers` and the balancers does not matter and the wrapper is the
 * outermost. The first get asks the route's breaker; a refusal is NGX_DECLINED with no tries left: nginx then
 * looks for a stale copy in its cache, as for a failed connection, and finishes with a 502 that
 * ngx_http_breaker_answer.c replaces (NGX_BUSY would do the same and write "no live upstreams" into the error
 * log for each request). */
#include "ngx_http_breaker.h"


static ngx_int_t ngx_http_breaker_init_peer(ngx_http_request_t *r, ngx_http_upstream_srv_conf_t *us);
static ngx_int_t ngx_http_breaker_get_peer(ngx_peer_connection_t *pc, void *data);
static void ngx_http_breaker_free_peer(ngx_peer_connection_t *pc, void *data, ngx_uint_t state);
static void ngx_http_breaker_notify_peer(ngx_peer_connection_t *pc, void *data, ngx_uint_t type);
static ngx_int_t ngx_http_breaker_set_peer_session(ngx_peer_connection_t *pc, void *data);
static void ngx_http_breaker_save_peer_session(ngx_peer_connection_t *pc, void *data);
static void ngx_http_breaker_finalize(ngx_http_request_t *r, ngx_int_t rc);


/* ---- Wrapping ---- */

static int ngx_libc_cdecl
ngx_http_breaker_cmp_upstreams(const void *one, const void *two)
{
    const ngx_http_breaker_upstream_t *first = one, *second = two;

    return first->upstream < second->upstream ? -1 : first->upstream > second->upstream;
}


ngx_int_t
ngx_http_breaker_wrap_upstreams(ngx_conf_t *cf, ngx_http_breaker_main_conf_t *mcf)
{
    ngx_uint_t i;
    ngx_http_breaker_upstream_t *wrapped;
    ngx_http_upstream_srv_conf_t **uscfp;
    ngx_http_upstream_main_conf_t *umcf;

    umcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_upstream_module);
    uscfp = umcf->upstreams.elts;

    if (ngx_array_init(&mcf->upstreams, cf->pool, umcf->upstreams.nelts + 1,
                       sizeof(ngx_http_breaker_upstream_t)) != NGX_OK) {
        return NGX_ERROR;
    }

    for (i = 0; i < umcf->upstreams.nelts; i++) {
        wrapped = ngx_array_push(&mcf->upstreams);
        wrapped->upstream = uscfp[i];
        wrapped->init = uscfp[i]->peer.init;
        wrapped->peers = NULL;
        uscfp[i]->peer.init = ngx_http_breaker_init_peer;

        if (uscfp[i]->srv_conf == NULL) { /* proxy_pass to an address */
            continue;
        }

        wrapped->peers = ngx_http_conf_upstream_srv_conf(uscfp[i], ngx_http_breaker_module);

        if (wrapped->peers->name.data == NULL) {
            wrapped->peers = NULL;
            continue;
        }

        wrapped->peers->breaker = ngx_http_breaker_lookup(mcf, &wrapped->peers->name);

        if (wrapped->peers->breaker == NULL) {
            ngx_log_error(NGX_LOG_EMERG, cf->log, 0, "breaker_peers: unknown breaker \"%V\" in %s:%ui",
                          &wrapped->peers->name, wrapped->peers->file, wrapped->peers->line);
            return NGX_ERROR;
        }

        if (ngx_http_breaker_list_servers(cf, wrapped) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    ngx_qsort(mcf->upstreams.elts, mcf->upstreams.nelts, sizeof(ngx_http_breaker_upstream_t),
              ngx_http_breaker_cmp_upstreams);

    return NGX_OK;
}


static ngx_http_breaker_upstream_t *
ngx_http_breaker_wrapped(ngx_http_request_t *r, ngx_http_upstream_srv_conf_t *us)
{
    ngx_http_breaker_upstream_t key;
    ngx_http_breaker_main_conf_t *mcf;

    mcf = ngx_http_get_module_main_conf(r, ngx_http_breaker_module);
    key.upstream = us;

    return bsearch(&key, mcf->upstreams.elts, mcf->upstreams.nelts, sizeof(ngx_http_breaker_upstream_t),
                   ngx_http_breaker_cmp_upstreams);
}


/* ---- Around the balancer ---- */

static void
ngx_http_breaker_wrap_peer(ngx_http_request_t *r, ngx_http_breaker_peer_t *p)
{
    ngx_http_upstream_t *u;

    u = r->upstream;

    p->request = r;
    p->upstream = u;
    p->data = u->peer.data;
    p->get = u->peer.get;
    p->free = u->peer.free;
    p->notify = u->peer.notify;
    p->finalize = u->finalize_request;

    u->peer.data = p;
    u->peer.get = ngx_http_breaker_get_peer;
    u->peer.free = ngx_http_breaker_free_peer;
    u->finalize_request = ngx_http_breaker_finalize;

    if (p->notify) {
        u->peer.notify = ngx_http_breaker_notify_peer;
    }

#if (NGX_SSL || NGX_COMPAT)
    p->set_session = u->peer.set_session;
    p->save_session = u->peer.save_session;

    if (p->set_session) {
        u->peer.set_session = ngx_http_breaker_set_peer_session;
    }

    if (p->save_session) {
        u->peer.save_session = ngx_http_breaker_save_peer_session;
    }
#endif
}


static ngx_int_t
ngx_http_breaker_init_peer(ngx_http_request_t *r, ngx_http_upstream_srv_conf_t *us)
{
    ngx_http_breaker_peer_t *p;
    ngx_http_breaker_upstream_t *wrapped;
    ngx_http_breaker_loc_conf_t *blcf;

    wrapped = ngx_http_breaker_wrapped(r, us);

    if (wrapped == NULL || wrapped->init(r, us) != NGX_OK) {
        return NGX_ERROR;
    }

    blcf = ngx_http_get_module_loc_conf(r, ngx_http_breaker_module);

    if (blcf->breaker == NULL && wrapped->peers == NULL) {
        return NGX_OK;
    }

    p = ngx_pcalloc(r->pool, sizeof(ngx_http_breaker_peer_t));
    if (p == NULL) {
        return NGX_ERROR;
    }

    p->ctx = ngx_http_breaker_begin(r, blcf, blcf->breaker ? blcf->breaker : wrapped->peers->breaker);
    if (p->ctx == NULL) {
        return NGX_ERROR;
    }

    p->ctx->hooked = 1;
    p->ctx->peer = p;
    p->peers = wrapped->peers ? wrapped : NULL;
    ngx_http_breaker_wrap_peer(r, p);

    return NGX_OK;
}


static ngx_int_t
ngx_http_breaker_decline(ngx_peer_connection_t *pc)
{
    static ngx_str_t nobody = ngx_string("-"); /* for $upstream_addr */

    pc->cached = 0;
    pc->connection = NULL;
    pc->sockaddr = NULL;
    pc->name = &nobody;
    pc->tries = 0;

    return NGX_DECLINED;
}


/* one server that may be called, if the balancer has any */
static ngx_int_t
ngx_http_breaker_choose(ngx_http_breaker_peer_t *p, ngx_peer_connection_t *pc)
{
    ngx_int_t rc;
    ngx_uint_t refused;

    for (refused = 0; /* void */; refused++) {

        if (refused && refused >= p->peers->servers.nelts) {
            break;
        }

        rc = p->get(pc, p->data);

        if ((rc != NGX_OK && rc != NGX_DONE) || p->peers == NULL ||
            ngx_http_breaker_ask_server(p, pc) == NGX_OK) {
            if (rc != NGX_BUSY || refused == 0) {
                return rc;
            }

            break;
        }

        ngx_http_breaker_give_back(p, pc);
    }

    if (p->end.event == 0 && p->end.status == 0) { /* not even one was tried */
        ngx_http_breaker_refuse_all(p);
    }

    return ngx_http_breaker_decline(pc);
}


/* Retries come out of a budget that grows with the calls, so that they never multiply an outage. Healing a
 * race on a kept connection costs nothing. The budget is this worker's: each sees its share of calls and of
 * retries. */
static ngx_uint_t
ngx_http_breaker_may_try(ngx_http_breaker_peer_t *p)
{
    uint64_t now, wait;
    ngx_http_breaker_t *breaker = p->ctx->breaker;

    if (breaker->retry_budget == 0) {
        return 1;
    }

    now = ngx_http_breaker_now();

    if (p->attempts++ == 0) {
        breaker_retry_begin(&breaker->retry, now);
        return 1;
    }

    return p->end.race || breaker_retry_next(&breaker->retry, 1, 0, now, &wait) == 0;
}


/* May nginx drop the answer of this server, if it is not to its liking, and ask another one? Never for a probe (G4); and not
 * when nobody could be asked then: the client would get nginx's own 502 in place of what the service said. An error on a
 * kept connection is healed all the same: nginx adds a try for it. */
static ngx_uint_t
ngx_http_breaker_may_try_another(ngx_http_breaker_peer_t *p, ngx_peer_connection_t *pc)
{
    ngx_http_breaker_t *breaker = p->ctx->breaker;

    if (p->ctx->probe || (p->peers && !ngx_http_breaker_has_other(p, pc->name))) {
        return 0;
    }

    return breaker->retry_budget == 0 || breaker_retry_left(&breaker->retry, ngx_http_breaker_now()) > 0;
}


static ngx_int_t
ngx_http_breaker_get_peer(ngx_peer_connection_t *pc, void *data)
{
    ngx_http_breaker_peer_t *p = data;

    ngx_int_t rc;

    if (ngx_http_breaker_ask(p->request, p->ctx) != NGX_OK) {
        return ngx_http_breaker_decline(pc);
    }

    if (!ngx_http_breaker_may_try(p)) {
        return ngx_http_breaker_decline(pc);
    }

    rc = ngx_http_breaker_choose(p, pc);

    if (rc == NGX_BUSY && p->end.event == 0 && p->end.status == 0) {
        p->end.event = NGX_HTTP_BREAKER_ON_ERROR; /* max_fails or max_conns took every server away */
    }

    if (pc->tries > 1 && (rc == NGX_OK || rc == NGX_DONE) && !ngx_http_breaker_may_try_another(p, pc)) {
        pc->tries = 1;
    }

    return rc;
}


static void
ngx_http_breaker_free_peer(ngx_peer_connection_t *pc, void *data, ngx_uint_t state)
{
    ngx_http_breaker_peer_t *p = data;

    if (!p->final) {
        ngx_http_breaker_note_attempt(p, pc);
    }

    ngx_http_breaker_judge_server(p);
    p->free(pc, p->data, state);
}


static void
ngx_http_breaker_notify_peer(ngx_peer_connection_t *pc, void *data, ngx_uint_t type)
{
    ngx_http_breaker_peer_t *p = data;

    p->notify(pc, p->data, type);
}


static ngx_int_t
ngx_http_breaker_set_peer_session(ngx_peer_connection_t *pc, void *data)
{
    ngx_http_breaker_peer_t *p = data;

    return p->set_session(pc, p->data);
}


static void
ngx_http_breaker_save_peer_session(ngx_peer_connection_t *pc, void *data)
{
    ngx_http_breaker_peer_t *p = data;

    p->save_session(pc, p->data);
}


/* nginx calls this once for each upstream request, whatever its end: the place of the final verdict (G6) */
static void
ngx_http_breaker_finalize(ngx_http_request_t *r, ngx_int_t rc)
{
    ngx_http_breaker_peer_t *p;

    p = r->upstream->peer.data;
    p->finalize(r, rc);

    p->final = 1;

    if (r->upstream->peer.sockaddr) { /* the last attempt was not freed: nginx itself saw nothing wrong */
        ngx_http_breaker_note_end(p, rc);
    }

    if (p->ctx->refused && r->upstream->state) {
        r->upstream->state->status = 0; /* no one answered 502: no one was asked */
    }

    ngx_http_breaker_judge_route(p);
    ngx_http_breaker_replace_answer(r, p->ctx);
}
