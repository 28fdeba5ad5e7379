/* Whether a request's header is framed as RFC 9112 has it, byte for byte.
 *
 * libmicrohttpd is generous: it takes a bare LF for a line's end, blanks in a target, a NUL in a value, folded lines, white
 * space before a colon. Who stands before us may read such a request otherwise, and where it ends otherwise; so it is
 * refused. libmicrohttpd does not say what it was generous about, but it reads in place: a header lies in memory as it
 * came, from the method on, but for NULs where a name, a value or a line ends. What it hands out points into that memory,
 * so that every byte can be accounted for:
 *
 *     METHOD␀target␀HTTP/1.1␀␀Name␀ value␀␀Name␀value␀␀␀␀        ␀␀ was CR LF; a bare LF leaves one ␀
 *
 * The walk goes over the addresses and compares each with where the piece before ends; whatever libmicrohttpd left out,
 * moved, or found a shorter end for, does not fit. */

#include "http/internal.h"

struct walk {
    const char *at; /* the next name begins here, if all is well */
    bool exact;
};

/* RFC 9110 §5.6.2 */
static bool is_token(const char *text)
{
    static const char others[] = "!#$%&'*+-.^_`|~";

    if (*text == '\0')
        return false;
    for (; *text; text++) {
        char c = *text, letter = (char)(c | 0x20);
        if (!(letter >= 'a' && letter <= 'z') && !(c >= '0' && c <= '9') && !strchr(others, c))
            return false;
    }
    return true;
}

/* The end of a text without control characters; NULL: it has one. */
static const char *text_end(const char *text, bool blanks)
{
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == 0x7f || (c < 0x20 && !(blanks && c == '\t')) || (c == ' ' && !blanks))
            return NULL;
    }
    return text;
}

static enum MHD_Result walk_field(void *user, enum MHD_ValueKind kind, const char *name, const char *value)
{
    struct walk *walk = user;
    const char *at = name + strlen(name) + 1, *end = value ? text_end(value, true) : NULL;

    walk->exact = walk->exact && name == walk->at && is_token(name) && end && value >= at;
    for (; walk->exact && at < value; at++)
        walk->exact = *at == ' ' || *at == '\t';
    walk->at = end ? end + 2 : NULL;
    return walk->exact ? MHD_YES : MHD_NO;
}

bool framing_is_exact(struct MHD_Connection *mhd, const char *method, const char *target, const char *version)
{
    size_t size = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE)->header_size;
    struct walk walk = {.exact = true};

    if (!is_token(method) || !text_end(target, false) ||
        version != method + strlen(method) + 1 + strlen(target) + 1 || strlen(version) != sizeof("HTTP/1.1") - 1)
        return false;
    walk.at = version + sizeof("HTTP/1.1") - 1 + 2;
    MHD_get_connection_values(mhd, MHD_HEADER_KIND, walk_field, &walk);
    return walk.exact && walk.at + 2 == method + size;
}
