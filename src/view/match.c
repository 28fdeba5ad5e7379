/* The items of a pattern are the literal's bytes as they are, and marks that no UTF-8 text holds:
 *
 *     0xf8            any text
 *     0xf9            one character
 *     0xfa SET 0xfb   one character of the set, as glob writes it between [ and ]
 *
 * A text that is not UTF-8 is read byte by byte where it is not; a pattern that is not loses those bytes to U+FFFD. */
#include "view/match.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/utf8.h"
#include "view/fold.h"

enum { MARK_ANY = 0xf8, MARK_ONE = 0xf9, MARK_SET = 0xfa, MARK_SET_END = 0xfb };

/* Steps between two looks at the clock: well below a millisecond. */
enum { LOOK_STEPS = 16384 };

/* --- patterns ----------------------------------------------------------------------------------------------------------- */

static size_t char_size(struct bytes text)
{
    uint32_t ignored;
    size_t size = utf8_decode(text, &ignored);
    return size > 0 ? size : 1;
}

static uint32_t char_at(struct bytes text)
{
    uint32_t code_point;
    return utf8_decode(text, &code_point) > 0 ? code_point : UINT32_C(0x110000) + text.data[0];
}

static int add_literal(struct bytes text, struct buffer *out)
{
    int r = 0;
    for (size_t at = 0, size; r == 0 && at < text.size; at += size) {
        struct bytes rest = bytes_slice(text, at, text.size);
        uint32_t ignored;
        size = utf8_decode(rest, &ignored);
        r = size > 0 ? buffer_append(out, rest.data, size) : buffer_append_string(out, "\xef\xbf\xbd");
        size = size > 0 ? size : 1;
    }
    return r;
}

/* What has been gathered of a literal, folded, and then a mark. */
static int add_folded(struct buffer *literal, int mark, struct buffer *out)
{
    int r = fold_text(buffer_bytes(literal), out);
    buffer_clear(literal);
    return r == 0 && mark != 0 ? buffer_append_byte(out, (uint8_t)mark) : r;
}

int match_like(struct bytes text, uint32_t escape, struct match_pattern *ret_pattern)
{
    _cleanup_(buffer_deinit) struct buffer literal = {0};
    struct buffer *out = &ret_pattern->items;
    int r = 0;
    *ret_pattern = (struct match_pattern){.folded = true};
    for (size_t at = 0; r == 0 && at < text.size;) {
        struct bytes rest = bytes_slice(text, at, text.size);
        size_t size = char_size(rest);
        at += size;
        if (escape != 0 && char_at(rest) == escape) {
            ret_pattern->nothing |= at == text.size; /* as in SQLite: there is nothing to take literally */
            rest = bytes_slice(text, at, text.size);
            size = rest.size > 0 ? char_size(rest) : 0;
            at += size;
            r = add_literal(bytes_slice(rest, 0, size), &literal);
        } else if (rest.data[0] == '%' || rest.data[0] == '_') {
            r = add_folded(&literal, rest.data[0] == '%' ? MARK_ANY : MARK_ONE, out);
        } else {
            r = add_literal(bytes_slice(rest, 0, size), &literal);
        }
    }
    return r == 0 ? add_folded(&literal, 0, out) : r;
}

/* The size of the set that begins behind "[": up to its "]", which as the first one is a member. 0: it has no end. */
static size_t set_size(struct bytes text)
{
    size_t at = text.size > 0 && text.data[0] == '^';
    at += at < text.size && text.data[at] == ']';
    const uint8_t *end = at < text.size ? memchr(text.data + at, ']', text.size - at) : NULL;
    return end ? (size_t)(end - text.data) : 0;
}

static int add_set(struct bytes set, struct buffer *out)
{
    int r = buffer_append_byte(out, MARK_SET);
    if (r == 0)
        r = add_literal(set, out);
    return r == 0 ? buffer_append_byte(out, MARK_SET_END) : r;
}

int match_glob(struct bytes text, struct match_pattern *ret_pattern)
{
    struct buffer *out = &ret_pattern->items;
    int r = 0;
    *ret_pattern = (struct match_pattern){0};
    for (size_t at = 0; r == 0 && at < text.size && !ret_pattern->nothing;) {
        struct bytes rest = bytes_slice(text, at, text.size);
        size_t size = char_size(rest);
        if (rest.data[0] == '*' || rest.data[0] == '?') {
            r = buffer_append_byte(out, rest.data[0] == '*' ? MARK_ANY : MARK_ONE);
        } else if (rest.data[0] == '[') {
            size = set_size(bytes_slice(rest, 1, rest.size));
            ret_pattern->nothing = size == 0;
            r = size > 0 ? add_set(bytes_slice(rest, 1, size), out) : 0;
            size += 2;
        } else {
            r = add_literal(bytes_slice(rest, 0, size), out);
        }
        at += size;
    }
    return r;
}

void match_pattern_deinit(struct match_pattern *pattern)
{
    buffer_deinit(&pattern->items);
}

/* --- texts --------------------------------------------------------------------------------------------------------------- */

/* What lies between two "any text". */
struct piece {
    struct bytes items;
    bool plain; /* a literal, nothing else */
};

static bool is_over(struct match_watch *watch)
{
    if (++watch->steps < LOOK_STEPS)
        return false;
    watch->steps = 0;
    return watch->look && watch->look(watch->user);
}

static struct piece take_piece(struct bytes *items)
{
    struct piece piece = {.plain = true};
    size_t size = 0;
    for (; size < items->size && items->data[size] != MARK_ANY; size++)
        piece.plain &= items->data[size] < MARK_ONE;
    piece.items = bytes_slice(*items, 0, size);
    *items = bytes_slice(*items, size, items->size);
    return piece;
}

static bool is_in_set(struct bytes set, uint32_t c)
{
    bool inverted = set.size > 0 && set.data[0] == '^', found = false;
    set = bytes_slice(set, inverted, set.size);
    while (set.size > 0) {
        uint32_t first = char_at(set), last = first;
        set = bytes_slice(set, char_size(set), set.size);
        if (set.size > 1 && set.data[0] == '-') {
            set = bytes_slice(set, 1, set.size);
            last = char_at(set);
            set = bytes_slice(set, char_size(set), set.size);
        }
        found |= c >= first && c <= last;
    }
    return found != inverted;
}

/* The bytes at the beginning of `text` that fit the piece; SIZE_MAX: it does not. */
static size_t fit(struct bytes items, struct bytes text, struct match_watch *watch, bool *ret_over)
{
    size_t at = 0;
    for (size_t i = 0; i < items.size && !(*ret_over = is_over(watch));) {
        struct bytes rest = bytes_slice(text, at, text.size);
        if (rest.size == 0)
            return SIZE_MAX;
        if (items.data[i] < MARK_ONE) {
            if (items.data[i++] != rest.data[0])
                return SIZE_MAX;
            at++;
            continue;
        }
        if (items.data[i] == MARK_SET) {
            const uint8_t *end = memchr(items.data + i, MARK_SET_END, items.size - i);
            size_t size = (size_t)(end - items.data) - i;
            if (!is_in_set(bytes_slice(items, i + 1, size - 1), char_at(rest)))
                return SIZE_MAX;
            watch->steps += (uint32_t)size;
            i += size;
        }
        i++;
        at += char_size(rest);
    }
    return at;
}

/* Where the piece is found first in `text`, and how many bytes it takes there. */
static enum match_answer find(const struct piece *piece, struct bytes text, struct match_watch *watch,
                              size_t *ret_at, size_t *ret_size)
{
    if (piece->plain && text.size < piece->items.size)
        return MATCH_NO;
    if (piece->plain) {
        const uint8_t *found = memmem(text.data, text.size, piece->items.data, piece->items.size);
        watch->steps += (uint32_t)(text.size / 64);
        *ret_at = found ? (size_t)(found - text.data) : 0;
        *ret_size = piece->items.size;
        return is_over(watch) ? MATCH_STOPPED : found ? MATCH_YES : MATCH_NO;
    }
    for (size_t at = 0; at < text.size; at += char_size(bytes_slice(text, at, text.size))) {
        bool over = false;
        size_t size = fit(piece->items, bytes_slice(text, at, text.size), watch, &over);
        if (over)
            return MATCH_STOPPED;
        if (size != SIZE_MAX) {
            *ret_at = at;
            *ret_size = size;
            return MATCH_YES;
        }
    }
    return MATCH_NO;
}

/* How many characters a piece stands for. */
static size_t count_chars(struct bytes items)
{
    size_t count = 0;
    for (size_t i = 0; i < items.size; i++) {
        if (items.data[i] == MARK_SET)
            i = (size_t)((const uint8_t *)memchr(items.data + i, MARK_SET_END, items.size - i) - items.data);
        count += items.data[i] >= MARK_ONE || (items.data[i] & 0xc0) != 0x80;
    }
    return count;
}

/* The last piece must end where the text does. */
static enum match_answer fit_end(const struct piece *piece, struct bytes text, struct match_watch *watch)
{
    size_t at = text.size;
    bool over = false;
    for (size_t count = count_chars(piece->items); count > 0; count--) {
        if (at == 0)
            return MATCH_NO;
        at--;
        while (at > 0 && (text.data[at] & 0xc0) == 0x80)
            at--;
    }
    size_t size = fit(piece->items, bytes_slice(text, at, text.size), watch, &over);
    return over ? MATCH_STOPPED : size == text.size - at ? MATCH_YES : MATCH_NO;
}

static enum match_answer match_items(struct bytes items, struct bytes text, struct match_watch *watch)
{
    bool over = false;
    struct piece piece = take_piece(&items);
    size_t at = 0, size = fit(piece.items, text, watch, &over);
    if (over)
        return MATCH_STOPPED;
    if (size == SIZE_MAX)
        return MATCH_NO;
    if (items.size == 0)
        return size == text.size ? MATCH_YES : MATCH_NO;
    while (items.size > 0) {
        text = bytes_slice(text, size, text.size);
        items = bytes_slice(items, 1, items.size);
        piece = take_piece(&items);
        size = 0;
        if (items.size == 0)
            return fit_end(&piece, text, watch);
        if (piece.items.size == 0)
            continue;
        enum match_answer answer = find(&piece, text, watch, &at, &size);
        if (answer != MATCH_YES)
            return answer;
        size += at;
    }
    return MATCH_YES;
}

enum match_answer match_text(const struct match_pattern *pattern, struct bytes text, struct match_watch *watch)
{
    _cleanup_(buffer_deinit) struct buffer folded = {0};
    if (pattern->nothing)
        return MATCH_NO;
    if (pattern->folded && fold_text(text, &folded) < 0)
        return MATCH_NO_MEMORY;
    return match_items(buffer_bytes(&pattern->items), pattern->folded ? buffer_bytes(&folded) : text, watch);
}
