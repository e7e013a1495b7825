#include "http/h1_lines.h"

#include "http/chars.h"
#include "http/message.h"

#define STATUS_LINE_MAX_BYTES (8 * 1024)

enum lines_state {
    LINE_METHOD,
    LINE_TARGET,
    LINE_REQUEST_VERSION,
    LINE_REQUEST_CR,
    LINE_RESPONSE_VERSION,
    LINE_STATUS,
    LINE_STATUS_SP,
    LINE_REASON,
    LINE_LF,
    LINE_FIELD, /* first byte of a line after the start line */
    LINE_NAME,
    LINE_NAME_BLANK, /* before the colon of a lenient one */
    LINE_VALUE,
    LINE_LAST_LF,
};

void h1_lines_start(struct lines *l, enum lines_kind kind)
{
    static const int first[] = {
        [LINES_REQUEST] = LINE_METHOD,
        [LINES_RESPONSE] = LINE_RESPONSE_VERSION,
        [LINES_TRAILERS] = LINE_FIELD,
    };
    *l = (struct lines){ .state = first[kind],
                         .start_done = kind == LINES_TRAILERS,
                         .lenient = l->lenient,
                         .fields_max = l->fields_max,
                         .line_max = l->line_max };
}

static bool refuse(struct lines *l, int status, const char *reason)
{
    l->status = status;
    l->reason = reason;
    return false;
}

/* A byte that no line may hold gets its own label: these are the smuggler's tools. */
static bool refuse_byte(struct lines *l, char c, const char *otherwise)
{
    if (c == '\n')
        return refuse(l, 400, "bare_lf");
    if (!char_is(c, CHAR_VALUE) && c != '\r')
        return refuse(l, 400, "control_character");
    return refuse(l, 400, otherwise);
}

static bool go(struct lines *l, enum lines_state next)
{
    l->state = (int)next;
    l->at = 0;
    return true;
}

/* "HTTP/1." and a digit, a byte at a time.  RFC 9110 §2.5: a minor version that is higher than ours counts as ours. */
static bool take_version(struct lines *l, char c, enum lines_state next)
{
    static const char text[] = "HTTP/1.";
    static const size_t len = sizeof text - 1;
    size_t at = l->at++;
    if (at < 5)
        return c == text[at] ? true : refuse_byte(l, c, "start_line_invalid");
    bool good = at < len ? c == text[at] : char_is(c, CHAR_DIGIT);
    if (!good)
        return refuse_byte(l, c, "version_unsupported");
    l->minor = c != '0';
    return at < len ? true : go(l, next);
}

static bool take_status(struct lines *l, char c)
{
    if (l->at == 0 && c != ' ')
        return refuse_byte(l, c, "start_line_invalid");
    if (l->at > 0 && !char_is(c, CHAR_DIGIT))
        return refuse_byte(l, c, "status_invalid");
    l->code = l->at == 0 ? 0 : (uint16_t)(l->code * 10 + (c - '0'));
    return l->at++ < 3 ? true : go(l, LINE_STATUS_SP);
}

static bool take_field_start(struct lines *l, char c)
{
    if (c == '\r')
        return go(l, LINE_LAST_LF);
    if (c == ' ' || c == '\t')
        return refuse(l, 400, "folded_line");
    if (!char_is(c, CHAR_TOKEN))
        return refuse_byte(l, c, "field_name_invalid");
    if (l->field_count++ == l->fields_max)
        return refuse(l, 431, "too_many_fields");
    return go(l, LINE_NAME);
}

static bool take_start_line(struct lines *l, char c)
{
    bool request = l->state <= LINE_REQUEST_CR;
    if (++l->line_bytes > (request ? l->line_max : STATUS_LINE_MAX_BYTES) + 1) /* its CR may follow */
        return request ? refuse(l, 414, "request_line_too_long") : refuse(l, 400, "status_line_too_long");
    switch ((enum lines_state)l->state) {
    case LINE_METHOD:
        if (c == ' ' && l->method_bytes)
            return go(l, LINE_TARGET);
        l->method_bytes++;
        return char_is(c, CHAR_TOKEN) ? true : refuse_byte(l, c, "start_line_invalid");
    case LINE_TARGET:
        if (c == ' ' && l->target_bytes)
            return go(l, LINE_REQUEST_VERSION);
        l->target_bytes++;
        return char_is(c, CHAR_TARGET) ? true : refuse_byte(l, c, "target_invalid");
    case LINE_REQUEST_VERSION: return take_version(l, c, LINE_REQUEST_CR);
    case LINE_REQUEST_CR: return c == '\r' ? go(l, LINE_LF) : refuse_byte(l, c, "start_line_invalid");
    case LINE_RESPONSE_VERSION: return take_version(l, c, LINE_STATUS);
    case LINE_STATUS: return take_status(l, c);
    case LINE_STATUS_SP: /* many servers omit the SP when the reason is empty */
        if (c == '\r')
            return go(l, LINE_LF);
        return c == ' ' ? go(l, LINE_REASON) : refuse_byte(l, c, "status_invalid");
    default: /* LINE_REASON */
        if (c == '\r')
            return go(l, LINE_LF);
        return char_is(c, CHAR_VALUE) ? true : refuse_byte(l, c, "start_line_invalid");
    }
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool take(struct lines *l, char c)
{
    switch ((enum lines_state)l->state) {
    case LINE_LF:
        l->start_done = l->start_done || c == '\n';
        return c == '\n' ? go(l, LINE_FIELD) : refuse(l, 400, "bare_cr");
    case LINE_FIELD: return take_field_start(l, c);
    case LINE_NAME:
        if (c == ':')
            return go(l, LINE_VALUE);
        if (l->lenient && is_blank(c))
            return go(l, LINE_NAME_BLANK);
        return char_is(c, CHAR_TOKEN) ? true : refuse_byte(l, c, "field_name_invalid");
    case LINE_NAME_BLANK:
        l->cleaned = true;
        if (c == ':')
            return go(l, LINE_VALUE);
        return is_blank(c) ? true : refuse_byte(l, c, "field_name_invalid");
    case LINE_VALUE:
        if (c == '\r')
            return go(l, LINE_LF);
        return char_is(c, CHAR_VALUE) ? true : refuse_byte(l, c, "field_value_invalid");
    case LINE_LAST_LF: l->done = c == '\n'; return l->done ? true : refuse(l, 400, "bare_cr");
    default: return take_start_line(l, c);
    }
}

/* The long runs, without the switch: names and values. */
static size_t skip_run(const struct lines *l, struct slice in, size_t at)
{
    unsigned cls;
    if (l->state == LINE_NAME)
        cls = CHAR_TOKEN;
    else if (l->state == LINE_VALUE)
        cls = CHAR_VALUE;
    else
        cls = 0;
    if (cls)
        while (at < in.len && char_is(in.ptr[at], cls))
            at++;
    return at;
}

size_t h1_lines_read(struct lines *l, struct slice in)
{
    size_t space = MESSAGE_HEAD_MAX_BYTES - l->bytes;
    size_t end = in.len < space ? in.len : space;
    size_t at = 0;
    struct slice part = { in.ptr, end };
    bool in_start_line = !l->start_done;
    while ((at = skip_run(l, part, at)) < end && !l->done && in_start_line == !l->start_done && take(l, in.ptr[at]))
        at++;
    l->bytes += (uint32_t)at;
    if (at == space && !l->done && in_start_line == !l->start_done && in.len > space)
        refuse(l, 431, "head_too_large");
    return at;
}

/* The part that a byte belongs to when it leads from one state to the other. */
static enum lines_part part_between(int before, int after)
{
    if (after == LINE_NAME)
        return LINES_NAME;
    if (before == LINE_VALUE)
        return after == LINE_VALUE ? LINES_VALUE : LINES_FIELD;
    return LINES_NOTHING;
}

size_t h1_lines_read_field(struct lines *l, struct slice in, enum lines_part *ret_part)
{
    size_t space = MESSAGE_HEAD_MAX_BYTES - l->bytes;
    struct slice part = { in.ptr, in.len < space ? in.len : space };
    int before = l->state;
    size_t n = skip_run(l, part, 0);
    if (n == 0 && part.len && !l->done)
        n = take(l, in.ptr[0]);
    *ret_part = n ? part_between(before, l->state) : LINES_NOTHING;
    l->bytes += (uint32_t)n;
    if (n == 0 && in.len > space && !l->done && !l->status)
        refuse(l, 431, "head_too_large");
    return n;
}
