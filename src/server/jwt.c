/* The claims of a token whose signature is good. */

#include "base/cleanup.h"
#include "base/json.h"
#include "server/jwt.h"

static bool names_audience(struct json_value aud, const char *audience)
{
    struct json_cursor at = json_walk(aud);

    if (json_string_equals(aud, audience))
        return true;
    while (json_type(aud) == JSON_ARRAY && json_next(&at))
        if (json_string_equals(at.value, audience))
            return true;
    return false;
}

/* A NumericDate (RFC 7519 §2), which may have a fraction. */
static bool date(struct json_value value, double *ret_seconds)
{
    return json_double(value, ret_seconds) == 0;
}

enum { YEAR_S = 366 * 24 * 3600 }; /* for how long no token is believed unseen */

/* A token that was good when it was shown ends at `exp`; one that was let in by the leeway, at the leeway's end. */
static int64_t ends_at(double exp_s, int64_t now_s)
{
    if (exp_s > (double)(now_s + YEAR_S))
        return now_s + YEAR_S;
    return (double)now_s < exp_s ? (int64_t)exp_s : (int64_t)exp_s + JWT_LEEWAY_S;
}

static const char *check_claims(struct json_value claims, const struct jwt_rules *rules, int64_t *ret_until_s)
{
    struct json_value nbf = json_get(claims, "nbf");
    double seconds, expires_s;

    if (!date(json_get(claims, "exp"), &expires_s))
        return "the token does not say when it ends";
    if (!((double)rules->now_s < expires_s + (rules->strict_end ? 0 : JWT_LEEWAY_S)))
        return "the token has expired";
    if (json_exists(nbf) && (!date(nbf, &seconds) || !((double)rules->now_s + JWT_LEEWAY_S >= seconds)))
        return "the token is not good yet";
    if (rules->issuer && !json_string_equals(json_get(claims, "iss"), rules->issuer))
        return "the token is of another issuer";
    if (rules->audience && !names_audience(json_get(claims, "aud"), rules->audience))
        return "the token is for somebody else";
    *ret_until_s = ends_at(expires_s, rules->now_s);
    return NULL;
}

static enum role higher(enum role role, struct bytes name)
{
    enum role named = role_from_name(name);

    return named > role ? named : role;
}

static enum role roles_of(struct json_value claims)
{
    struct json_value roles = json_get(claims, "roles");
    struct json_cursor at = json_walk(roles);
    enum role role = ROLE_NONE;
    struct bytes text;

    if (json_exists(roles)) {
        while (json_type(roles) == JSON_ARRAY && json_next(&at))
            if (json_string_plain(at.value, &text))
                role = higher(role, text);
        return role;
    }
    if (!json_string_plain(json_get(claims, "scope"), &text))
        return ROLE_NONE;
    while (text.size > 0) {
        const uint8_t *space = memchr(text.data, ' ', text.size);
        size_t size = space ? (size_t)(space - text.data) : text.size;
        role = higher(role, bytes_slice(text, 0, size));
        text = bytes_slice(text, size + (space != NULL), text.size);
    }
    return role;
}

const char *jwt_verify(const struct jwks *keys, const struct jwt_rules *rules, struct bytes token,
                       enum role *ret_role, struct buffer *ret_name, int64_t *ret_until_s)
{
    _cleanup_(json_doc_deinit) struct json_doc doc = {0};
    _cleanup_(buffer_deinit) struct buffer payload = {0};
    const char *wrong = jws_open(keys, token, &payload);

    if (wrong)
        return wrong;
    if (json_parse(buffer_bytes(&payload), &doc, NULL) != 0 || json_type(json_root(&doc)) != JSON_OBJECT)
        return "the token cannot be read";
    struct json_value claims = json_root(&doc), subject = json_get(claims, "sub");
    wrong = check_claims(claims, rules, ret_until_s);
    if (wrong)
        return wrong;
    /* As JSON, so that issuer and subject cannot run into each other. */
    if (json_exists(subject) && (buffer_append_bytes(ret_name, json_raw(json_get(claims, "iss"))) < 0 ||
                                 buffer_append_bytes(ret_name, json_raw(subject)) < 0))
        return "there is no memory";
    *ret_role = roles_of(claims);
    return NULL;
}
