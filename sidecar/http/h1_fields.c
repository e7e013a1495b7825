/* Fields to a model.  llhttp reads those of requests; it is stopped after each head and restarted, because h1.c
 * delimits bodies. */
#include <errno.h>

#include "http/h1_private.h"

/* Pieces of one part come in a row, so they lie in the text in a row. */
int h1_append(struct h1 *p, struct message_part *part, const char *at, size_t len)
{
    struct message_part piece;
    int failed = message_put(p->into, slice_of(at, len), &piece);
    if (failed != 0) {
        h1_bad(p, failed == -ENOMEM ? 503 : 431, failed == -ENOMEM ? "out_of_memory" : "head_too_large");
        return HPE_USER;
    }
    if (part->len == 0)
        part->at = piece.at;
    part->len += piece.len;
    return 0;
}

static int on_header_field(llhttp_t *llhttp, const char *at, size_t len)
{
    struct h1 *p = llhttp->data;
    return h1_append(p, &p->name, at, len);
}

static int on_header_value(llhttp_t *llhttp, const char *at, size_t len)
{
    struct h1 *p = llhttp->data;
    return h1_append(p, &p->value, at, len);
}

static int add_field(struct h1 *p)
{
    struct slice value = message_slice(p->into, p->value), trimmed = slice_trim(value);
    p->value.at += trimmed.len ? (uint32_t)(trimmed.ptr - value.ptr) : 0;
    p->value.len = (uint32_t)trimmed.len;
    int failed = message_add_parts(p->into, p->name, p->value);
    p->name = p->value = (struct message_part){ 0, 0 };
    if (failed == 0)
        return 0;
    h1_bad(p, failed == -ENOMEM ? 503 : 431, failed == -ENOMEM ? "out_of_memory" : "too_many_fields");
    return HPE_USER;
}

static int on_header_value_complete(llhttp_t *llhttp)
{
    return add_field(llhttp->data);
}

static int on_headers_complete(llhttp_t *llhttp)
{
    (void)llhttp;
    return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
    .on_header_field = on_header_field,
    .on_header_value = on_header_value,
    .on_header_value_complete = on_header_value_complete,
    .on_headers_complete = on_headers_complete,
};

/* llhttp reads the fields of requests.  Its state before them is the same for every message and for trailers: after a
 * start line that it accepts. */
enum h1_event h1_start_fields(struct h1 *p)
{
    static const char before[] = "GET / HTTP/1.1\r\n";
    if (p->role == H1_RESPONSES)
        return H1_MORE; /* see split_fields() */
    llhttp_init(&p->llhttp, HTTP_REQUEST, &settings);
    p->llhttp.data = p;
    return llhttp_execute(&p->llhttp, before, sizeof before - 1) == HPE_OK ? H1_MORE : h1_bad(p, 400, "head_invalid");
}

/* llhttp refuses the same mixtures as h1_framing_request(), each release at another byte: the label is made from the
 * fields. */
static const char *framing_reason(const struct h1 *p)
{
    struct slice current = message_slice(p->into, p->name);
    bool length = slice_ieq(current, SLICE("content-length")), coding = slice_ieq(current, SLICE("transfer-encoding"));
    size_t lengths, codings;
    message_get(p->into, SLICE("content-length"), &lengths);
    message_get(p->into, SLICE("transfer-encoding"), &codings);
    if ((lengths || length) && (codings || coding))
        return "length_with_transfer_encoding";
    if (lengths && length)
        return "content_length_repeated";
    return lengths || length ? "content_length_invalid" : "transfer_encoding_invalid";
}

static enum h1_event bad_llhttp(struct h1 *p, llhttp_errno_t error)
{
    if (p->state == STATE_BAD) /* a callback has set the reason */
        return H1_BAD;
    switch ((int)error) {
    case HPE_UNEXPECTED_CONTENT_LENGTH:
    case HPE_INVALID_CONTENT_LENGTH:
    case HPE_INVALID_TRANSFER_ENCODING: return h1_bad(p, 400, framing_reason(p));
    default: return h1_bad(p, 400, "head_invalid");
    }
}

static int take_part(struct h1 *p, enum lines_part part, struct slice bytes)
{
    switch (part) {
    case LINES_NAME: return h1_append(p, &p->name, bytes.ptr, bytes.len);
    case LINES_VALUE: return h1_append(p, &p->value, bytes.ptr, bytes.len);
    case LINES_FIELD: return add_field(p);
    default: return 0;
    }
}

/* Fields of a response, as the strict reader has cut them.  Returns H1_HEAD when their end was reached. */
static enum h1_event split_fields(struct h1 *p, struct slice *in)
{
    while (in->len && !p->lines.done) {
        enum lines_part part;
        size_t good = h1_lines_read_field(&p->lines, *in, &part);
        if (take_part(p, part, slice_of(in->ptr, good)) != 0)
            return H1_BAD;
        if (p->lines.status)
            return h1_bad(p, p->lines.status, p->lines.reason);
        *in = slice_skip(*in, good);
    }
    p->cleaned = p->cleaned || p->lines.cleaned;
    return p->lines.done ? H1_HEAD : H1_MORE;
}

/* Lines that passed the strict reader go on to llhttp; both must see the end at the same byte.
 * Returns H1_HEAD when it was reached. */
enum h1_event h1_read_fields(struct h1 *p, struct slice *in)
{
    if (p->role == H1_RESPONSES)
        return split_fields(p, in);
    size_t good = h1_lines_read(&p->lines, *in);
    llhttp_errno_t error = good ? llhttp_execute(&p->llhttp, in->ptr, good) : HPE_OK;
    if (error != (p->lines.done ? HPE_PAUSED : HPE_OK))
        return bad_llhttp(p, error);
    if (p->lines.status)
        return h1_bad(p, p->lines.status, p->lines.reason);
    *in = slice_skip(*in, good);
    return p->lines.done ? H1_HEAD : H1_MORE;
}
