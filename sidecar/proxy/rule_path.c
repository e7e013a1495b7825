#include "proxy/rule_path.h"

#include "base/str.h"

bool rule_path_escapes_valid(struct slice target)
{
    for (size_t i = 0; i < target.len && target.ptr[i] != '?'; i++)
        if (target.ptr[i] == '%'
            && (target.len - i < 3 || str_hex_value(target.ptr[i + 1]) < 0 || str_hex_value(target.ptr[i + 2]) < 0))
            return false;
    return true;
}

/* Behind each byte that is added: an escape may be complete now, and what it makes may be the end of another one.  So
 * one pass decodes what any number of passes would. */
static size_t collapse(char *text, size_t len)
{
    while (len >= 3 && text[len - 3] == '%') {
        int high = str_hex_value(text[len - 2]), low = str_hex_value(text[len - 1]);
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

/* What a decoder that checks nothing makes of a UTF-8 sequence: overlong forms of two to six bytes, and those whose
 * later bytes are none (%c0%2e).  0: no dot and no slash. */
static size_t fold_overlong(struct slice text, char *ret)
{
    static const struct {
        unsigned char first, bits; /* … that it adds above the later bytes */
        size_t len;
    } leads[] = { { 0xc0, 0, 2 }, { 0xc1, 1, 2 }, { 0xe0, 0, 3 }, { 0xf0, 0, 4 }, { 0xf8, 0, 5 }, { 0xfc, 0, 6 } };
    for (size_t i = 0; i < sizeof leads / sizeof *leads; i++) {
        if ((unsigned char)text.ptr[0] != leads[i].first || text.len < leads[i].len)
            continue;
        unsigned value = leads[i].bits;
        for (size_t n = 1; n < leads[i].len && value < 0x80; n++)
            value = value << 6 | ((unsigned char)text.ptr[n] & 0x3f);
        if (value != '.' && value != '/' && value != '\\')
            return 0;
        *ret = value == '.' ? '.' : '/';
        return leads[i].len;
    }
    return 0;
}

/* What compatibility forms (NFKC) and best-fit tables make dots, slashes and blanks of. */
static size_t fold_alike(struct slice text, struct slice *ret)
{
    static const struct {
        const char *bytes, *means;
    } forms[] = {
        { "\xef\xbc\x8e", "." },   { "\xe2\x80\xa4", "." },   { "\xef\xb9\x92", "." },   { "\xe2\x80\xa5", ".." },
        { "\xef\xb8\xb0", ".." },  { "\xe2\x80\xa6", "..." }, { "\xef\xb8\x99", "..." }, { "\xe3\x80\x82", "." },
        { "\xef\xbd\xa1", "." },   { "\xef\xbc\x8f", "/" },   { "\xef\xb9\xa8", "/" },   { "\xef\xbc\xbc", "/" },
        { "\xe2\x88\x95", "/" },   { "\xe2\x81\x84", "/" },   { "\xe2\x88\x96", "/" },   { "\xc2\xa5", "/" },
        { "\xe2\x82\xa9", "/" },   { "\xe2\x85\x9f", "1/" },  { "\xe2\x84\x80", "a/c" }, { "\xe2\x84\x81", "a/s" },
        { "\xe2\x84\x85", "c/o" }, { "\xe2\x84\x86", "c/u" }, { "\xc2\xa0", " " },       { "\xc2\x85", " " },
        { "\xc2\xad", " " },       { "\xe3\x80\x80", " " },   { "\xe2\x80\xaf", " " },   { "\xe2\x81\x9f", " " },
        { "\xef\xbb\xbf", " " },   { "\xe1\x9a\x80", " " },   { "\xe2\x80\xa8", " " },   { "\xe2\x80\xa9", " " },
        { "\xe2\x81\xa0", " " },   { "\xe1\xa0\x8e", " " },
    };
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        if (slice_starts(text, slice_str(forms[i].bytes))) {
            *ret = slice_str(forms[i].means);
            return strlen(forms[i].bytes);
        }
    /* U+2000 to U+200F: spaces of other widths, and of none */
    if (text.len >= 3 && slice_starts(text, SLICE("\xe2\x80")) && (unsigned char)text.ptr[2] <= 0x8f) {
        *ret = SLICE(" ");
        return 3;
    }
    return 0;
}

/* *ret: the ASCII that some server may take the beginning of text for, or its first byte.  Returns how much of text
 * that is; what it may become is never longer. */
static size_t fold(struct slice text, struct slice *ret)
{
    static const char slash = '/', dot = '.';
    char means = 0;
    *ret = text.ptr[0] == '\\' ? slice_of(&slash, 1) : slice_of(text.ptr, 1);
    if ((unsigned char)text.ptr[0] < 0x80)
        return 1;
    size_t len = fold_overlong(text, &means);
    if (len)
        *ret = slice_of(means == '.' ? &dot : &slash, 1);
    else
        len = fold_alike(text, ret);
    return len ? len : 1;
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

/* Where a server may take dots for a segment of their own: at a stream's name (NTFS, "..::$DATA"), and at what is no
 * ASCII, which it may drop. */
static bool ends_dots(char c)
{
    return cuts(c) || c == ':' || (unsigned char)c >= 0x80;
}

struct segment {             /* of the path that is being read */
    size_t dots;             /* at its beginning */
    size_t all_dots, others; /* in the whole of it, blanks left out */
    bool cut;                /* the rest is parameters */
    bool over;               /* of the dots at its beginning */
    bool only_dots;          /* until then */
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
    s->over = s->over || ends_dots(c);
    s->all_dots += c == '.';
    s->others += c != '.' && !is_blank(c);
    s->dots += !s->over && c == '.';
    s->only_dots = s->only_dots && (s->over || c == '.');
}

struct plain { /* the form that is being written */
    char *text;
    size_t len;
    struct segment segment;
    bool ambiguous;
};

static void plain_add(struct plain *p, char c)
{
    if (c == '/') {
        p->ambiguous = p->ambiguous || is_dot_segment(&p->segment);
        p->segment = (struct segment){ .only_dots = true };
    } else {
        segment_add(&p->segment, c);
    }
    bool again = c == '/' && p->len && p->text[p->len - 1] == '/';
    if (!p->segment.cut && !again)
        p->text[p->len++] = c;
}

size_t rule_path_plain(struct slice text, char *space, bool *ret_ambiguous)
{
    struct slice left = { space, decode(text, space) };
    struct plain p = { .text = space, .segment.only_dots = true };
    while (left.len) { /* what is written never overtakes what is read */
        struct slice means;
        left = slice_skip(left, fold(left, &means));
        for (size_t i = 0; i < means.len; i++)
            plain_add(&p, means.ptr[i]);
    }
    if (ret_ambiguous)
        *ret_ambiguous = p.ambiguous || is_dot_segment(&p.segment);
    return p.len;
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
