/* Whatever comes as a token or as a set of keys is answered, and nothing unsigned is ever let in. */

#include <assert.h>

#include "server/jwt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char set[] =
    "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"},"
    "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
    "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}]}";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct jwks *known;
    const struct jwt_rules rules = {.issuer = "nobody", .now_s = 1000};
    char error[SERVER_ERROR_SIZE] = "";
    struct buffer name = {0};
    struct jwks *keys = NULL;
    enum role role = ROLE_NONE;
    int64_t until_s;

    if (!known)
        assert(jwks_parse(bytes_make(set, sizeof(set) - 1), "set", &known, error) == 0);
    assert(jwt_verify(known, &rules, bytes_make(data, size), &role, &name, &until_s) != NULL);
    assert(role == ROLE_NONE && name.size == 0);
    int r = jwks_parse(bytes_make(data, size), "input", &keys, error);
    assert(r == 0 ? jwks_count(keys) <= JWKS_KEY_COUNT_MAX : r == SERVER_E_START && error[0] != '\0');
    jwks_free(keys);
    buffer_deinit(&name);
    return 0;
}
