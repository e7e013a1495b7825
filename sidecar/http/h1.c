#include <stdlib.h>

#include "http/chars.h"
#include "http/h1_framing.h"
#include "http/h1_private.h"

#define INFORMATIONAL_MAX 32
#define EMPTY_LINES_MAX 8

struct h1 *h1_new(enum h1_role role)
{
    struct h1 *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->role = role;
    p->lines.lenient = role == H1_RESPONSES;
    h1_limit(p, H1_FIELDS, H1_LINE_BYTES);
    message_init(&p->head);
    message_init(&p->trailers);
    return p;
}

void h1_limit(struct h1 *p, unsigned fields, unsigned line_bytes)
{
    p->lines.fields_max = (uint16_t)fields;
    p->lines.line_max = line_bytes;
}

bool h1_cleaned(const struct h1 *p)
{
    return p->cleaned || p->chunk.cleaned || p->lines.cleaned;
}

void h1_free(struct h1 *p)
{
    if (!p)
        return;
    message_done(&p->head);
    message_done(&p->trailers);
    free(p);
}

void h1_expect(struct h1 *p, struct slice request_method)
{
    p->to_head = slice_eq(request_method, SLICE("HEAD"));
    p->to_connect = slice_eq(request_method, SLICE("CONNECT"));
}

struct message *h1_head(struct h1 *p)
{
    return &p->head;
}

struct message *h1_trailers(struct h1 *p)
{
    return &p->trailers;
}

bool h1_idle(const struct h1 *p)
{
    return p->state == STATE_START || p->state == STATE_CLOSED;
}

void h1_park(struct h1 *p)
{
    if (!h1_idle(p))
        return;
    message_done(&p->head);
    message_done(&p->trailers);
}

int h1_status(const struct h1 *p)
{
    return p->status;
}

const char *h1_reason(const struct h1 *p)
{
    return p->reason ? p->reason : "";
}

enum h1_event h1_bad(struct h1 *p, int status, const char *reason)
{
    p->state = STATE_BAD;
    p->status = status;
    p->reason = reason;
    return H1_BAD;
}

static void start_lines(struct h1 *p, struct message *into, enum lines_kind kind)
{
    h1_lines_start(&p->lines, kind);
    p->into = into;
    p->name = p->value = p->line = (struct message_part){ 0, 0 };
}

/* The line lies in the text in one piece; its parts are cut out of it. */
static void cut_request_line(struct h1 *p)
{
    struct message *m = &p->head;
    m->method = (struct message_part){ p->line.at, p->lines.method_bytes };
    m->target = (struct message_part){ p->line.at + p->lines.method_bytes + 1, p->lines.target_bytes };
}

static void cut_status_line(struct h1 *p)
{
    enum { BEFORE = sizeof "HTTP/1.1 200 " - 1, LINE_END = 2 };
    struct message *m = &p->head;
    m->status = p->lines.code;
    if (p->line.len > BEFORE + LINE_END)
        m->reason = (struct message_part){ p->line.at + BEFORE, p->line.len - BEFORE - LINE_END };
}

/* H1_HEAD: the line is whole. */
static enum h1_event read_start_line(struct h1 *p, struct slice *in)
{
    size_t good = h1_lines_read(&p->lines, *in);
    if (good && h1_append(p, &p->line, in->ptr, good) != 0)
        return H1_BAD;
    if (p->lines.status)
        return h1_bad(p, p->lines.status, p->lines.reason);
    *in = slice_skip(*in, good);
    if (!p->lines.start_done)
        return H1_MORE;
    p->head.minor = p->lines.minor;
    if (p->role == H1_REQUESTS)
        cut_request_line(p);
    else
        cut_status_line(p);
    return h1_start_fields(p) == H1_BAD ? H1_BAD : H1_HEAD;
}

/* --- heads --- */

/* RFC 9112 §3.2: which forms a method may have.  Methods are case-sensitive (RFC 9110 §9.1), but a method that some
 * server could read as CONNECT must not have a target as CONNECT has. */
static const char *check_request_line(struct h1 *p)
{
    struct slice method = message_method(&p->head), target = message_target(&p->head);
    bool origin = target.ptr[0] == '/', star = target.ptr[0] == '*', slash = slice_find(target, '/') < target.len;
    if (slice_eq(method, SLICE("CONNECT")))
        return slash || star ? "target_invalid" : NULL;
    if (slice_eq(method, SLICE("OPTIONS")) && star)
        return target.len > 1 ? "target_invalid" : NULL;
    return star || !(origin || slash) ? "target_invalid" : NULL;
}

static enum h1_state body_state(struct h1 *p)
{
    struct message *m = &p->head;
    if (p->role == H1_RESPONSES && (p->to_head || m->status == 304))
        return STATE_END;
    switch (m->framing) {
    case FRAMING_LENGTH: p->left = m->length; return m->length ? STATE_LENGTH : STATE_END;
    case FRAMING_CHUNKED: h1_chunk_start(&p->chunk, p->role == H1_RESPONSES); return STATE_CHUNKS;
    case FRAMING_EOF: return STATE_UNTIL_EOF;
    default: return STATE_END;
    }
}

static enum h1_event finish_request_head(struct h1 *p)
{
    struct message *m = &p->head;
    const char *refused = h1_framing_request(m);
    if (refused)
        return h1_bad(p, 400, refused);
    if (slice_eq(message_method(m), SLICE("CONNECT")))
        p->after = STATE_UPGRADED;
    else if (m->keep_alive)
        p->after = STATE_START;
    else
        p->after = STATE_CLOSED;
    p->state = body_state(p);
    return H1_HEAD;
}

static enum h1_event finish_response_head(struct h1 *p)
{
    struct message *m = &p->head;
    if (m->status < 100 || m->status > 999)
        return h1_bad(p, 400, "status_invalid");
    bool informational = m->status < 200 && m->status != 101;
    if (informational && p->informational++ == INFORMATIONAL_MAX)
        return h1_bad(p, 400, "too_many_informational");
    bool cleaned;
    const char *refused = h1_framing_response(m, p->to_head, p->to_connect, &cleaned);
    if (refused)
        return h1_bad(p, 400, refused);
    p->cleaned = p->cleaned || cleaned || m->status > 599;
    p->after = informational || (m->keep_alive && !p->cleaned) ? STATE_START : STATE_CLOSED;
    if (m->status == 101 || (p->to_connect && m->status / 100 == 2))
        p->after = STATE_UPGRADED;
    p->state = body_state(p);
    if (!informational) {
        p->informational = 0;
        p->to_head = p->to_connect = false;
    }
    return H1_HEAD;
}

/* --- h1_next(): one step per state; H1_MORE with input left means: go on in the new state --- */

static enum h1_event step_start(struct h1 *p, struct slice *in)
{
    if (p->role == H1_REQUESTS && in->ptr[0] == '\r' && p->empty_lines < EMPTY_LINES_MAX) {
        p->empty_lines++; /* RFC 9112 §2.2: old clients send one after a body */
        p->state = STATE_START_LF;
        *in = slice_skip(*in, 1);
        return H1_MORE;
    }
    p->empty_lines = 0;
    message_clear(&p->head);
    message_clear(&p->trailers);
    start_lines(p, &p->head, p->role == H1_REQUESTS ? LINES_REQUEST : LINES_RESPONSE);
    p->state = STATE_START_LINE;
    return H1_MORE;
}

static enum h1_event step_start_lf(struct h1 *p, struct slice *in)
{
    if (in->ptr[0] != '\n')
        return h1_bad(p, 400, "bare_cr");
    *in = slice_skip(*in, 1);
    p->state = STATE_START;
    return H1_MORE;
}

static enum h1_event step_start_line(struct h1 *p, struct slice *in)
{
    enum h1_event event = read_start_line(p, in);
    if (event != H1_HEAD)
        return event;
    /* RFC 9113 §3.4: PRI is the method that no HTTP/1 request has. */
    if (p->role == H1_REQUESTS && slice_eq(message_method(&p->head), SLICE("PRI")))
        return h1_bad(p, 501, "method_unknown");
    const char *refused = p->role == H1_REQUESTS ? check_request_line(p) : NULL;
    if (refused)
        return h1_bad(p, 400, refused);
    p->state = STATE_HEAD;
    return H1_MORE;
}

static enum h1_event step_head(struct h1 *p, struct slice *in)
{
    enum h1_event event = h1_read_fields(p, in);
    if (event != H1_HEAD)
        return event;
    return p->role == H1_REQUESTS ? finish_request_head(p) : finish_response_head(p);
}

static enum h1_event step_body(struct h1 *p, struct slice *in, struct slice *ret_data)
{
    bool counted = p->state == STATE_LENGTH;
    size_t n = counted && p->left < in->len ? (size_t)p->left : in->len;
    *ret_data = slice_of(in->ptr, n);
    *in = slice_skip(*in, n);
    if (counted && (p->left -= n) == 0)
        p->state = STATE_END;
    return H1_DATA;
}

static enum h1_event step_chunks(struct h1 *p, struct slice *in, struct slice *ret_data)
{
    switch (h1_chunk_next(&p->chunk, in, ret_data)) {
    case CHUNK_DATA: return H1_DATA;
    case CHUNK_MORE: return H1_MORE;
    case CHUNK_BAD: return h1_bad(p, p->chunk.status, p->chunk.reason);
    case CHUNK_LAST: break;
    }
    p->cleaned = p->cleaned || p->chunk.cleaned;
    start_lines(p, &p->trailers, LINES_TRAILERS);
    p->state = STATE_TRAILERS;
    return h1_start_fields(p);
}

static enum h1_event step_trailers(struct h1 *p, struct slice *in)
{
    enum h1_event event = h1_read_fields(p, in);
    if (event != H1_HEAD)
        return event;
    const char *refused = h1_framing_trailers(&p->trailers);
    if (refused)
        return h1_bad(p, 400, refused);
    p->state = STATE_END;
    return H1_MORE;
}

static enum h1_event step(struct h1 *p, struct slice *in, struct slice *ret_data)
{
    switch (p->state) {
    case STATE_START: return step_start(p, in);
    case STATE_START_LF: return step_start_lf(p, in);
    case STATE_START_LINE: return step_start_line(p, in);
    case STATE_HEAD: return step_head(p, in);
    case STATE_LENGTH:
    case STATE_UNTIL_EOF: return step_body(p, in, ret_data);
    case STATE_CHUNKS: return step_chunks(p, in, ret_data);
    case STATE_TRAILERS: return step_trailers(p, in);
    case STATE_CLOSED: return h1_bad(p, 400, "data_after_close");
    default: return H1_BAD;
    }
}

enum h1_event h1_next(struct h1 *p, struct slice *in, struct slice *ret_data)
{
    for (;;) {
        if (p->state == STATE_END) {
            p->state = p->after;
            return H1_END;
        }
        if (p->state == STATE_UPGRADED)
            return H1_UPGRADED;
        if (p->state == STATE_BAD)
            return H1_BAD;
        if (in->len == 0)
            return H1_MORE;
        enum h1_event event = step(p, in, ret_data);
        if (event != H1_MORE)
            return event;
    }
}

enum h1_event h1_eof(struct h1 *p)
{
    switch (p->state) {
    case STATE_UNTIL_EOF:
    case STATE_END: p->state = p->state == STATE_END ? p->after : STATE_CLOSED; return H1_END;
    case STATE_START:
    case STATE_CLOSED:
    case STATE_UPGRADED: return H1_MORE;
    case STATE_BAD: return H1_BAD;
    default: return h1_bad(p, 400, "cut_short");
    }
}

#define TEXT(number) #number
#define VERSION(major, minor, patch) TEXT(major) "." TEXT(minor) "." TEXT(patch)

const char *h1_library(void)
{
    return VERSION(LLHTTP_VERSION_MAJOR, LLHTTP_VERSION_MINOR, LLHTTP_VERSION_PATCH);
}
