#include "proxy/rule_path.h"

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool rule_path_escapes_valid(struct slice target)
{
    for (size_t i = 0; i < target.len && target.ptr[i] != '?'; i++)
        if (target.ptr[i] == '%'
            && (target.len - i < 3 || hex_value(target.ptr[i + 1]) < 0 || hex_value(target.ptr[i + 2]) < 0))
            return false;
    return true;
}

/* Behind each byte that is added: an escape may be complete now, and what it makes may be the end of another one.  So
 * one pass decodes what any number of passes would. */
static size_t collapse(char *text, size_t len)
{
    while (len >= 3 && text[len - 3] == '%') {
        int high = hex_value(text[len - 2]), low = hex_value(text[len - 1]);
        if (high < 0 || low < 0)
            break;
        len -= 2;
        text[len - 1] = (char)(high << 4 | low);
    }
    return len;
}

static size_t decode(struct slice from, char *to)
{
    size_t len = 0;
    for (size_t i = 0; i < from.len; i++) {
        to[len] = from.ptr[i];
        len = collapse(to, len + 1);
    }
    return len;
}

/* Sequences of UTF-8 that some servers turn into a dot or a slash: overlong forms of two to five bytes, and the
 * compatible characters that best-fit tables know.  *ret gets the ASCII that it may become; 0: something else. */
static size_t fold(struct slice text, char *ret)
{
    static const struct {
        const char *bytes;
        char means;
    } forms[] = {
        { "\xc0\xae", '.' },
        { "\xe0\x80\xae", '.' },
        { "\xf0\x80\x80\xae", '.' },
        { "\xc0\xaf", '/' },
        { "\xe0\x80\xaf", '/' },
        { "\xf0\x80\x80\xaf", '/' },
        { "\xc1\x9c", '/' },
        { "\xe0\x81\x9c", '/' },
        { "\xf0\x80\x81\x9c", '/' },
        { "\xef\xbc\x8e", '.' },
        { "\xe2\x80\xa4", '.' },
        { "\xef\xbc\x8f", '/' },
        { "\xef\xb9\x92", '.' },
        { "\xef\xb9\xa8", '/' },
        { "\xf8\x80\x80\x80\xae", '.' },
        { "\xf8\x80\x80\x80\xaf", '/' },
        { "\xef\xbc\xbc", '/' },
        { "\xe2\x88\x95", '/' },
        { "\xe2\x81\x84", '/' },
        { "\xe2\x88\x96", '/' },
    };
    *ret = text.ptr[0] == '\\' ? '/' : text.ptr[0];
    if ((unsigned char)text.ptr[0] < 0x80)
        return 1;
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        if (slice_starts(text, slice_str(forms[i].bytes))) {
            *ret = forms[i].means;
            return strlen(forms[i].bytes);
        }
    return 1;
}

static bool is_blank(char c)
{
    return (unsigned char)c <= ' ' || c == 0x7f;
}

/* Where a server may end a segment before its slash. */
static bool cuts(char c)
{
    return c == ';' || c == '#' || c == '?' || is_blank(c);
}

struct segment {             /* of the path that is being read */
    size_t start;            /* in the plain form */
    size_t dots;             /* at its beginning */
    size_t all_dots, others; /* in the whole of it, blanks left out */
    bool cut;                /* the rest is parameters */
    bool only_dots;          /* until now, or until the cut */
};

static bool is_dot_segment(const struct segment *s)
{
    bool front = s->only_dots && (s->dots == 1 || s->dots == 2);
    bool whole = s->others == 0 && (s->all_dots == 1 || s->all_dots == 2);
    return front || whole;
}

static void segment_add(struct segment *s, char c)
{
    s->cut = s->cut || cuts(c);
    s->all_dots += c == '.';
    s->others += c != '.' && !is_blank(c);
    s->dots += !s->cut && c == '.';
    s->only_dots = s->only_dots && (s->cut || c == '.');
}

size_t rule_path_plain(struct slice text, char *space, bool *ret_ambiguous)
{
    struct slice left = { space, decode(text, space) };
    struct segment s = { .only_dots = true };
    size_t len = 0;
    bool ambiguous = false;
    while (left.len) { /* what is written never overtakes what is read */
        char c;
        left = slice_skip(left, fold(left, &c));
        if (c == '/') {
            ambiguous = ambiguous || is_dot_segment(&s);
            s = (struct segment){ .only_dots = true };
        } else {
            segment_add(&s, c);
        }
        bool again = c == '/' && len && space[len - 1] == '/';
        if (!s.cut && !again)
            space[len++] = c;
    }
    if (ret_ambiguous)
        *ret_ambiguous = ambiguous || is_dot_segment(&s);
    return len;
}

static bool is_odd(char c)
{
    unsigned char u = (unsigned char)c;
    return u <= ' ' || u >= 0x7f || u == '%' || u == ';' || u == '\\' || u == '#';
}

/* Nothing in it that two servers read in two ways: no escape, no parameter, no backslash, no empty segment, no segment
 * that begins with a dot, nothing beyond printable ASCII. */
static bool is_ordinary(struct slice path)
{
    char before = 0;
    for (size_t i = 0; i < path.len; i++) {
        char c = path.ptr[i];
        if (is_odd(c) || (before == '/' && (c == '.' || c == '/')))
            return false;
        before = c;
    }
    return true;
}

void rule_path_read(struct rule_path *p, struct slice target)
{
    p->raw = p->plain = slice_of(target.ptr, slice_find(target, '?'));
    p->ambiguous = false;
    if (is_ordinary(p->raw))
        return;
    if (p->raw.len > sizeof p->space)
        p->ambiguous = true;
    else
        p->plain = slice_of(p->space, rule_path_plain(p->raw, p->space, &p->ambiguous));
}
