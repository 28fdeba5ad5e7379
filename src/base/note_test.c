/* Signed notes: what another implementation signed, what is no note, and that nothing signed can be changed. */
#include "lib/cmocka_all.h"

#include "base/cleanup.h"
#include "base/note.h"

/* The example of golang.org/x/mod/sumdb/note: keys and a note that another program made. */
#define PETER_PUBLIC  "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
#define PETER_PRIVATE "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
#define PETER_TEXT    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
#define PETER_SIGNATURE                                                                                                \
    "\xe2\x80\x94 PeterNeumann "                                                                                       \
    "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"

static struct note_key parse(const char *text)
{
    struct note_key key;

    assert_ok(note_key_parse(bytes_from_string(text), &key));
    return key;
}

static int open_with(const char *note, const struct note_key *key)
{
    struct bytes text;
    const char *reason = NULL;
    int r = note_open(bytes_from_string(note), key, &text, &reason);

    assert_true(r == 0 || reason != NULL);
    return r;
}

static void what_another_implementation_signed_is_read_and_signed_alike(void **state)
{
    _cleanup_(buffer_deinit) struct buffer note = {0};
    _cleanup_(buffer_deinit) struct buffer line = {0};
    struct note_key public_key = parse(PETER_PUBLIC), private_key = parse(PETER_PRIVATE "\n");

    assert_false(public_key.secret);
    assert_true(private_key.secret);
    assert_memory_equal(public_key.public_key, private_key.public_key, NOTE_PUBLIC_SIZE);
    assert_ok(note_sign(bytes_from_string(PETER_TEXT), &private_key, &note));
    assert_string_equal(buffer_string(&note), PETER_TEXT "\n" PETER_SIGNATURE);
    assert_ok(open_with(buffer_string(&note), &public_key));
    assert_ok(note_key_write_public(&private_key, &line));
    assert_string_equal(buffer_string(&line), PETER_PUBLIC);
    buffer_clear(&line);
    assert_ok(note_key_write_private(&private_key, &line));
    assert_string_equal(buffer_string(&line), PETER_PRIVATE);
}

/* The text up to its last empty line is signed; changing any byte of it or of the signature is found. */
static void no_byte_of_a_note_can_be_changed(void **state)
{
    static const char note[] = PETER_TEXT "\n" PETER_SIGNATURE;
    struct note_key key = parse(PETER_PUBLIC);
    char changed[sizeof(note)];

    for (size_t i = 0; i + 1 < sizeof(note); i++) {
        for (int bit = 0; bit < 8; bit++) {
            memcpy(changed, note, sizeof(note));
            changed[i] ^= (char)(1 << bit);
            struct bytes text;
            assert_int_not_equal(note_open(bytes_make(changed, sizeof(note) - 1), &key, &text, NULL), 0);
        }
    }
}

static void signatures_of_others_are_ignored_and_a_wrong_one_of_the_key_is_not(void **state)
{
    _cleanup_(buffer_deinit) struct buffer mine = {0};
    _cleanup_(buffer_deinit) struct buffer both = {0};
    struct note_key peter = parse(PETER_PUBLIC), key;
    uint8_t seed[NOTE_SEED_SIZE] = {7};

    assert_ok(note_key_make("example.com/hotel", seed, &key));
    assert_ok(note_sign(bytes_from_string("another text\n"), &key, &mine));
    const char *signature = strstr(buffer_string(&mine), "\n\n") + 2;
    assert_int_equal(open_with(PETER_TEXT "\n" PETER_SIGNATURE, &key), NOTE_E_UNSIGNED);
    assert_ok(buffer_printf(&both, "%s\n%s%s", PETER_TEXT, PETER_SIGNATURE, signature));
    assert_ok(open_with(buffer_string(&both), &peter));
    assert_int_equal(open_with(buffer_string(&both), &key), NOTE_E_FORGED);
}

static void what_is_no_note_is_refused(void **state)
{
    static const char *const wrong[] = {
        "", "\n", "\n\n", "text", "text\n", "text\n\n", PETER_TEXT PETER_SIGNATURE, PETER_TEXT "\n\n" PETER_SIGNATURE,
        PETER_TEXT "\nsigned: me\n", PETER_TEXT "\n\xe2\x80\x94 PeterNeumann\n", PETER_TEXT "\n\xe2\x80\x94  AAAAAAAA\n",
        PETER_TEXT "\n\xe2\x80\x94 PeterNeumann !!!!\n", PETER_TEXT "\n\xe2\x80\x94 PeterNeumann AAAA\n",
        "a\tb\n\n" PETER_SIGNATURE, "a\xff\n\n" PETER_SIGNATURE, "\n\n" PETER_SIGNATURE "x"};
    struct note_key key = parse(PETER_PUBLIC);

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        if (open_with(wrong[i], &key) == 0)
            fail_msg("%zu", i);
    }
}

static void a_note_has_64_signatures_and_65536_bytes_at_most(void **state)
{
    _cleanup_(buffer_deinit) struct buffer note = {0};
    struct note_key key = parse(PETER_PUBLIC);
    struct bytes text;
    const char *reason;

    assert_ok(buffer_append_string(&note, PETER_TEXT "\n"));
    for (unsigned i = 0; i < NOTE_SIGNATURE_COUNT_MAX; i++)
        assert_ok(buffer_append_string(&note, PETER_SIGNATURE));
    assert_ok(note_open(buffer_bytes(&note), &key, &text, &reason));
    assert_ok(buffer_append_string(&note, PETER_SIGNATURE));
    assert_int_equal(note_open(buffer_bytes(&note), &key, &text, &reason), NOTE_E_INVALID);
    assert_non_null(strstr(reason, "64"));
    while (note.size <= NOTE_SIZE_MAX)
        assert_ok(buffer_append_string(&note, "more\n"));
    assert_int_equal(note_open(buffer_bytes(&note), &key, &text, &reason), NOTE_E_INVALID);
    assert_non_null(strstr(reason, "65536"));
}

static void keys_and_names_that_are_none_are_refused(void **state)
{
    static const char *const keys[] = {"", "PeterNeumann", "PeterNeumann+c74f20a3", "+c74f20a3+AAAA", PETER_PUBLIC "A",
        "PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", /* another id */
        "PeterNeumann+c74f20a3+Ahpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", /* another type */
        "Peter Neumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"};
    static const char *const names[] = {"", "a b", "a+b", "a\nb", "\xc3\xa4"};
    uint8_t seed[NOTE_SEED_SIZE] = {1};
    char name[NOTE_NAME_SIZE_MAX + 2];
    struct note_key key;

    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        assert_int_equal(note_key_parse(bytes_from_string(keys[i]), &key), NOTE_E_INVALID);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        assert_int_equal(note_key_make(names[i], seed, &key), NOTE_E_INVALID);
    memset(name, 'n', sizeof(name));
    name[NOTE_NAME_SIZE_MAX + 1] = '\0';
    assert_int_equal(note_key_make(name, seed, &key), NOTE_E_INVALID);
    name[NOTE_NAME_SIZE_MAX] = '\0';
    assert_ok(note_key_make(name, seed, &key));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_another_implementation_signed_is_read_and_signed_alike),
        cmocka_unit_test(no_byte_of_a_note_can_be_changed),
        cmocka_unit_test(signatures_of_others_are_ignored_and_a_wrong_one_of_the_key_is_not),
        cmocka_unit_test(what_is_no_note_is_refused),
        cmocka_unit_test(a_note_has_64_signatures_and_65536_bytes_at_most),
        cmocka_unit_test(keys_and_names_that_are_none_are_refused),
    };

    return cmocka_run_group_tests_name("base/note", tests, NULL, NULL);
}
