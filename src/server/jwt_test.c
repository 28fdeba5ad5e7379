/* Tokens as the RFCs print them, and everything that must not pass for one. */

#include "lib/cmocka_all.h"

#include <sodium.h>
#include <stdio.h>
#include <unistd.h>

#include "server/jwt.h"

#define ED25519_KEY                                                                                          \
    "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}"
#define ED25519_TOKEN                                                                                        \
    "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc."                                              \
    "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
#define P256_KEY                                                                                             \
    "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","               \
    "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}"
#define JOE "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
#define P256_TOKEN                                                                                           \
    "eyJhbGciOiJFUzI1NiJ9." JOE                                                                              \
    ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
#define RSA_KEY                                                                                              \
    "{\"kty\":\"RSA\",\"e\":\"AQAB\",\"n\":\"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_"                             \
    "wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrc"                                                             \
    "S2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-"               \
    "bSf63kpaSHSXndS5z5rexMd"                                                                                \
    "bBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-"         \
    "DWNmoudF8NAco9_h9"                                                                                      \
    "iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ\"}"
#define RSA_TOKEN                                                                                            \
    "eyJhbGciOiJSUzI1NiJ9." JOE                                                                              \
    ".cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_"                 \
    "O8W2Fp5jujGbds9uJdbF9CUAr"                                                                              \
    "7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_"            \
    "eSN9383LcOLn6_dO--xi"                                                                                   \
    "12jzDwusC-"                                                                                             \
    "eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypG"  \
    "lUPQGe77Rw"

static struct jwks *keys_of(const char *text, int want)
{
    char error[SERVER_ERROR_SIZE] = "";
    struct jwks *keys = NULL;

    assert_int_equal(jwks_parse(bytes_from_string(text), "keys.json", &keys, error), want);
    assert_true(want == 0 || strncmp(error, "keys.json: ", 11) == 0);
    return keys;
}

static bool opens(const struct jwks *keys, const char *token)
{
    struct buffer out = {0};
    bool good = jws_open(keys, bytes_from_string(token), &out) == NULL;

    assert_true(good || out.size == 0);
    buffer_deinit(&out);
    return good;
}

/* RFC 8037 A.4, RFC 7515 A.3 and A.2; and no bit of them may differ. */
static void the_signatures_of_the_rfcs_are_good_and_no_changed_one_is(void **state)
{
    struct jwks *keys = keys_of("{\"keys\":[" ED25519_KEY "," P256_KEY "," RSA_KEY "]}", 0);

    for (const char *const *token = (const char *const[]){ED25519_TOKEN, P256_TOKEN, RSA_TOKEN, NULL}; *token;
         token++) {
        char changed[1024];
        assert_true(opens(keys, *token));
        for (size_t i = 0; i < strlen(*token); i++) {
            assert_true(snprintf(changed, sizeof(changed), "%s", *token) < (int)sizeof(changed));
            changed[i] = changed[i] == 'A' ? 'B' : 'A';
            assert_false(opens(keys, changed));
            changed[i] = '\0'; /* and cut there */
            assert_false(opens(keys, changed));
        }
    }
    jwks_free(keys);
}

/* ---- tokens of our own ---- */

static const uint8_t seed[32] = {7};
static uint8_t public_key[32], secret_key[64];

enum { TOKEN_SIZE_MAX = 8192 };

static void append_text(char *out, size_t size_max, const char *text)
{
    size_t used = strlen(out);

    assert_true(used + strlen(text) < size_max);
    memcpy(out + used, text, strlen(text) + 1);
}

static void append64(char *out, const char *text, size_t size)
{
    sodium_bin2base64(out + strlen(out),
                      sodium_base64_encoded_len(size, sodium_base64_VARIANT_URLSAFE_NO_PADDING),
                      (const uint8_t *)text, size, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
}

static const char *sign(const char *header, const char *claims)
{
    static char token[TOKEN_SIZE_MAX];
    uint8_t signature[64];

    token[0] = '\0';
    append64(token, header, strlen(header));
    append_text(token, sizeof(token), ".");
    append64(token, claims, strlen(claims));
    crypto_sign_detached(signature, NULL, (const uint8_t *)token, strlen(token), secret_key);
    append_text(token, sizeof(token), ".");
    append64(token, (const char *)signature, sizeof(signature));
    return token;
}

static struct jwks *own_keys(void)
{
    char text[512] = "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"a\",\"x\":\"";

    assert_true(sodium_init() >= 0);
    crypto_sign_seed_keypair(public_key, secret_key, seed);
    append64(text, (const char *)public_key, sizeof(public_key));
    append_text(text, sizeof(text), "\"}," P256_KEY "]}");
    return keys_of(text, 0);
}

static int64_t until_s; /* of the last token that was good */

static const char *verify(const struct jwks *keys, const char *token, enum role *ret_role)
{
    const struct jwt_rules rules = {.issuer = "us", .audience = "daybook", .now_s = 1000};
    struct buffer name = {0};
    const char *wrong = jwt_verify(keys, &rules, bytes_from_string(token), ret_role, &name, &until_s);

    buffer_deinit(&name);
    return wrong;
}

#define HEADER "{\"alg\":\"EdDSA\",\"kid\":\"a\"}"
#define CLAIMS "\"iss\":\"us\",\"aud\":\"daybook\",\"exp\":1001"

static void roles_come_from_roles_or_from_scope(void **state)
{
    static const struct {
        const char *claims;
        enum role role;
    } cases[] = {
        {"{" CLAIMS "}", ROLE_NONE},
        {"{" CLAIMS ",\"roles\":[\"reader\",\"king\",7]}", ROLE_READER},
        {"{" CLAIMS ",\"roles\":[\"operator\",\"reader\"]}", ROLE_OPERATOR},
        {"{" CLAIMS ",\"roles\":\"operator\"}", ROLE_NONE},
        {"{" CLAIMS ",\"scope\":\"openid writer\"}", ROLE_WRITER},
        {"{" CLAIMS ",\"scope\":\"writers  xoperator\"}", ROLE_NONE},
        {"{" CLAIMS ",\"roles\":[],\"scope\":\"operator\"}", ROLE_NONE},
        {"{\"iss\":\"us\",\"aud\":[\"x\",\"daybook\"],\"exp\":1001.5,\"nbf\":999,\"scope\":\"reader\"}",
         ROLE_READER},
    };
    struct jwks *keys = own_keys();

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        enum role role = ROLE_OPERATOR;
        assert_null(verify(keys, sign(HEADER, cases[i].claims), &role));
        assert_int_equal(role, cases[i].role);
    }
    jwks_free(keys);
}

static void what_a_token_claims_wrongly_is_refused(void **state)
{
    static const struct {
        const char *header, *claims, *words;
    } cases[] = {
        {HEADER, "{\"iss\":\"us\",\"aud\":\"daybook\",\"exp\":940}", "expired"},
        {HEADER, "{\"iss\":\"us\",\"aud\":\"daybook\"}", "when it ends"},
        {HEADER, "{\"iss\":\"us\",\"aud\":\"daybook\",\"exp\":\"2000\"}", "when it ends"},
        {HEADER, "{" CLAIMS ",\"nbf\":1061}", "not good yet"},
        {HEADER, "{" CLAIMS ",\"nbf\":null}", "not good yet"},
        {HEADER, "{\"iss\":\"them\",\"aud\":\"daybook\",\"exp\":1001}", "issuer"},
        {HEADER, "{\"aud\":\"daybook\",\"exp\":1001}", "issuer"},
        {HEADER, "{\"iss\":\"us\",\"aud\":[\"daybooks\"],\"exp\":1001}", "somebody else"},
        {HEADER, "[1]", "cannot be read"},
        {HEADER, "{", "cannot be read"},
        {"{\"alg\":\"none\"}", "{" CLAIMS "}", "no key"},
        {"{\"alg\":\"HS256\",\"kid\":\"a\"}", "{" CLAIMS "}", "no key"},
        {"{\"alg\":\"ES256\",\"kid\":\"a\"}", "{" CLAIMS "}", "no key"},
        {"{\"alg\":\"ES256\"}", "{" CLAIMS "}", "signature"},
        {"{\"alg\":\"EdDSA\",\"kid\":\"b\"}", "{" CLAIMS "}", "no key"},
        {"{\"alg\":\"EdDSA\",\"kid\":7}", "{" CLAIMS "}", "no key"},
        {"{\"alg\":\"EdDSA\",\"crit\":[\"x\"]}", "{" CLAIMS "}", "extension"},
        {"{\"kid\":\"a\"}", "{" CLAIMS "}", "no key"},
        {"nonsense", "{" CLAIMS "}", "cannot be read"},
    };
    struct jwks *keys = own_keys();
    enum role role = ROLE_NONE;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *wrong = verify(keys, sign(cases[i].header, cases[i].claims), &role);
        assert_non_null(wrong);
        assert_non_null(strstr(wrong, cases[i].words));
    }
    /* The leeway, to the second; a token that is too long; one without the last part. */
    assert_null(
        verify(keys, sign(HEADER, "{\"iss\":\"us\",\"aud\":\"daybook\",\"exp\":941,\"nbf\":1060}"), &role));
    static char longer[JWT_SIZE_MAX + 2];
    memset(longer, 'a', JWT_SIZE_MAX + 1);
    assert_non_null(strstr(verify(keys, longer, &role), "too long"));
    assert_non_null(verify(keys, "a.b", &role));
    assert_int_equal(role, ROLE_NONE);
    jwks_free(keys);
}

static void a_set_of_keys_is_taken_whole_or_not_at_all(void **state)
{
    for (const char *const *bad =
             (const char *const[]){
                 "{}", "{\"keys\":{}}", "{\"keys\":[7]}", "{\"keys\":[]} x",
                 "{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\"}]}",
                 "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AAAA\"}]}",
                 "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AAAA\",\"d\":\"AAAA\"}]}",
                 "{\"keys\":[{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}]}",
                 "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AAAA\",\"y\":\"AAAA\"}]}", NULL};
         *bad; bad++)
        keys_of(*bad, SERVER_E_START);
    struct jwks *keys = keys_of("{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-521\"}," ED25519_KEY "]}", 0);
    assert_int_equal(jwks_count(keys), 1);
    assert_int_equal(jwks_passed_over_count(keys), 1);
    jwks_free(keys);
}

static void an_emptied_set_lets_nobody_in(void **state)
{
    for (const char *const *empty = (const char *const[]){"", " \n", "{\"keys\":[]}",
                                                          "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-521\"}]}", NULL};
         *empty; empty++) {
        struct jwks *keys = keys_of(*empty, 0);
        assert_int_equal(jwks_count(keys), 0);
        jwks_free(keys);
    }
}

/* RFC 7517 §4.5 lets keys of different types share a kid. */
static void keys_of_two_types_may_have_one_kid(void **state)
{
#define WITH_KID(key) "{\"kid\":\"a\"," key
    struct jwks *keys = keys_of("{\"keys\":[" WITH_KID("\"kty\":\"OKP\",\"crv\":\"Ed25519\","
                                                       "\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"},")
                                    WITH_KID("\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
                                             "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}]}"),
                                0);
    struct buffer out = {0};

    assert_int_equal(jwks_count(keys), 2);
    assert_null(jws_open(keys, bytes_from_string(ED25519_TOKEN), &out));
    assert_null(jws_open(keys, bytes_from_string(P256_TOKEN), &out));
    buffer_deinit(&out);
    jwks_free(keys);
    keys_of("{\"keys\":[" WITH_KID("\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"},")
                WITH_KID("\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}"),
            SERVER_E_START);
}

static size_t count_with(const char *member)
{
    char text[512];

    snprintf(text, sizeof(text), "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"a\",%s"
                                 "\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}", member);
    struct jwks *keys = keys_of(text, 0);
    size_t count = jwks_count(keys);
    jwks_free(keys);
    return count;
}

static void a_key_that_is_not_for_verifying_is_passed_over(void **state)
{
    assert_int_equal(count_with("\"key_ops\":[\"verify\"],"), 1);
    assert_int_equal(count_with("\"key_ops\":[\"sign\",\"verify\"],\"use\":\"sig\","), 1);
    assert_int_equal(count_with("\"key_ops\":[\"sign\"],"), 0);
    assert_int_equal(count_with("\"key_ops\":[],"), 0);
    assert_int_equal(count_with("\"key_ops\":\"verify\","), 0);
    assert_int_equal(count_with("\"key_ops\":[\"encrypt\",\"wrapKey\"],"), 0);
    assert_int_equal(count_with("\"use\":\"enc\","), 0);
    assert_int_equal(count_with("\"alg\":\"EdDSA\","), 1);
    assert_int_equal(count_with("\"alg\":\"Ed25519\","), 1); /* RFC 9864 */
    assert_int_equal(count_with("\"alg\":\"Ed448\","), 0);
}

/* A set of `count` keys, each with a kid of its own, in `text`. */
static void write_set(struct buffer *text, unsigned count)
{
    buffer_clear(text);
    assert_ok(buffer_append_string(text, "{\"keys\":["));
    for (unsigned i = 0; i < count; i++)
        assert_ok(buffer_printf(text,
                                "%s{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"k%u\","
                                "\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}",
                                i ? "," : "", i));
    assert_ok(buffer_append_string(text, "]}"));
}

static void a_set_has_64_keys_at_most(void **state)
{
    struct buffer text = {0};
    write_set(&text, JWKS_KEY_COUNT_MAX);
    struct jwks *keys = keys_of(buffer_string(&text), 0);
    assert_int_equal(jwks_count(keys), JWKS_KEY_COUNT_MAX);
    jwks_free(keys);
    write_set(&text, JWKS_KEY_COUNT_MAX + 1);
    keys_of(buffer_string(&text), SERVER_E_START);
    buffer_deinit(&text);
}

/* RFC 9864 §2.2: Ed25519 is what EdDSA with that curve is. What the key is for in its own words counts. */
static void a_token_by_the_algorithms_own_name_is_good_and_ends_at_its_exp(void **state)
{
    struct jwks *keys = own_keys();
    enum role role = ROLE_NONE;
    const struct {
        int64_t exp_s, until_s;
    } ends[] = {{1001, 1001}, {1000, 1060}, {941, 1001}, {2000, 2000}, {9000000000, 1000 + 366 * 24 * 3600}};

    assert_null(verify(keys, sign("{\"alg\":\"Ed25519\",\"kid\":\"a\"}", "{" CLAIMS "}"), &role));
    assert_non_null(verify(keys, sign("{\"alg\":\"Ed448\",\"kid\":\"a\"}", "{" CLAIMS "}"), &role));
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        char claims[128];
        snprintf(claims, sizeof(claims), "{\"iss\":\"us\",\"aud\":\"daybook\",\"exp\":%lld}", (long long)ends[i].exp_s);
        assert_null(verify(keys, sign(HEADER, claims), &role));
        assert_int_equal(until_s, ends[i].until_s);
    }
    jwks_free(keys);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_signatures_of_the_rfcs_are_good_and_no_changed_one_is),
        cmocka_unit_test(roles_come_from_roles_or_from_scope),
        cmocka_unit_test(what_a_token_claims_wrongly_is_refused),
        cmocka_unit_test(a_set_of_keys_is_taken_whole_or_not_at_all),
        cmocka_unit_test(an_emptied_set_lets_nobody_in),
        cmocka_unit_test(keys_of_two_types_may_have_one_kid),
        cmocka_unit_test(a_key_that_is_not_for_verifying_is_passed_over),
        cmocka_unit_test(a_token_by_the_algorithms_own_name_is_good_and_ends_at_its_exp),
        cmocka_unit_test(a_set_has_64_keys_at_most),
    };

    return cmocka_run_group_tests_name("jwt", tests, NULL, NULL);
}
