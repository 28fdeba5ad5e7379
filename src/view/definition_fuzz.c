/* Any text is a definition whose parts lie within it, or is refused with a sentence; SQLite says the rest. */
#include <assert.h>
#include <string.h>

#include "view/definition.h"
#include "view/store.h"
#include "view/view.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_part(const struct definition *d, struct definition_part part)
{
    assert(part.sql.size == 0 || ((const char *)part.sql.data >= d->text &&
                                  (const char *)part.sql.data + part.sql.size <= d->text + d->text_size));
}

static void try_store(const struct definition *d)
{
    struct store_options options = {.path = ":memory:", .scratch = true};
    struct store *store = NULL;
    char error[VIEW_ERROR_SIZE] = "";
    int r = store_open(&options, d, (struct journal_id){0}, &store, error);
    assert(r == 0 || error[0] != '\0');
    store_close(store);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct {
        enum definition_kind kind;
        const char *file;
    } kinds[] = {{DEFINITION_VIEW, "views/v.sql"}, {DEFINITION_QUERY, "queries/v.sql"}};
    for (size_t i = 0; i < 2; i++) {
        struct definition *d = NULL;
        char error[VIEW_ERROR_SIZE] = "";
        int r = definition_parse(kinds[i].kind, kinds[i].file, bytes_make(data, size), &d, error);
        assert(r == 0 || (r == DEFINITION_E_INVALID && error[0] != '\0'));
        if (r != 0)
            continue;
        check_part(d, d->schema);
        check_part(d, d->select);
        for (size_t s = 0; s < d->section_count; s++)
            check_part(d, d->sections[s].part);
        if (kinds[i].kind == DEFINITION_VIEW)
            try_store(d);
        definition_free(d);
    }
    return 0;
}
