#include "http/h1.h"

#include <errno.h>

#include "http/chars.h"

/* A head is measured first and then written in one piece: a failure leaves out as it was. */
struct pen {
    char *at; /* NULL while measuring */
    size_t bytes;
};

static void put(struct pen *pen, struct slice text)
{
    if (pen->at && text.len) {
        memcpy(pen->at, text.ptr, text.len);
        pen->at += text.len;
    }
    pen->bytes += text.len;
}

static void put_number(struct pen *pen, uint64_t number)
{
    char digits[20];
    size_t first = sizeof digits;
    do
        digits[--first] = (char)('0' + number % 10);
    while ((number /= 10) != 0);
    put(pen, slice_of(digits + first, sizeof digits - first));
}

static void put_field(struct pen *pen, struct slice name, struct slice value)
{
    put(pen, name);
    put(pen, SLICE(": "));
    put(pen, value);
    put(pen, SLICE("\r\n"));
}

static bool is_token(struct slice text)
{
    return text.len && chars_all(text, CHAR_TOKEN);
}

/* The names that only the codec writes. */
static bool is_framing(struct slice name)
{
    return slice_ieq(name, SLICE("content-length")) || slice_ieq(name, SLICE("transfer-encoding"))
           || slice_ieq(name, SLICE("connection"));
}

static bool fields_valid(const struct message *m)
{
    for (size_t i = 0; i < m->field_count; i++)
        if (!is_token(message_name_at(m, i)) || !chars_all(message_value_at(m, i), CHAR_VALUE))
            return false;
    return true;
}

static void put_fields(struct pen *pen, const struct message *m)
{
    for (size_t i = 0; i < m->field_count; i++)
        if (!is_framing(message_name_at(m, i)))
            put_field(pen, message_name_at(m, i), message_value_at(m, i));
}

static void put_framing(struct pen *pen, const struct message *m, bool zero_needed)
{
    bool zero = m->framing == FRAMING_NONE && zero_needed;
    if (m->framing == FRAMING_CHUNKED)
        put(pen, SLICE("Transfer-Encoding: chunked\r\n"));
    if (m->framing == FRAMING_LENGTH || zero) {
        put(pen, SLICE("Content-Length: "));
        put_number(pen, zero ? 0 : m->length);
        put(pen, SLICE("\r\n"));
    }
}

static void put_connection(struct pen *pen, const struct message *m)
{
    bool close = (!m->keep_alive || m->framing == FRAMING_EOF) && m->status != 101;
    bool te = m->status == 0 && message_get(m, SLICE("te"), NULL).len > 0; /* RFC 9110 §10.1.4 */
    bool keep = m->status >= 200 && m->minor == 0 && !close
                && !m->upgrade; /* a 1.0 peer closes unless Connection says keep-alive */
    if (!close && !m->upgrade && !te && !keep)
        return;
    put(pen, SLICE("Connection: "));
    if (m->upgrade)
        put(pen, SLICE("upgrade"));
    if (te)
        put(pen, m->upgrade ? SLICE(", TE") : SLICE("TE"));
    if (close)
        put(pen, m->upgrade || te ? SLICE(", close") : SLICE("close"));
    if (keep)
        put(pen, SLICE("keep-alive"));
    put(pen, SLICE("\r\n"));
}

static bool body_usual(struct slice method)
{
    return slice_eq(method, SLICE("POST")) || slice_eq(method, SLICE("PUT")) || slice_eq(method, SLICE("PATCH"));
}

static void put_request(struct pen *pen, const struct message *m, bool head_only)
{
    (void)head_only;
    put(pen, message_method(m));
    put(pen, SLICE(" "));
    put(pen, message_target(m));
    put(pen, SLICE(" HTTP/1.1\r\n"));
    put_fields(pen, m);
    put_framing(pen, m, body_usual(message_method(m)));
    put_connection(pen, m);
    put(pen, SLICE("\r\n"));
}

static bool bodiless(int status)
{
    return status < 200 || status == 204 || status == 304;
}

static void put_response(struct pen *pen, const struct message *m, bool head_only)
{
    put(pen, SLICE("HTTP/1.1 "));
    put_number(pen, (uint64_t)m->status);
    put(pen, SLICE(" "));
    put(pen, message_slice(m, m->reason));
    put(pen, SLICE("\r\n"));
    put_fields(pen, m);
    put_framing(pen, m, !head_only && !bodiless(m->status));
    if (m->status >= 200 || m->upgrade)
        put_connection(pen, m);
    put(pen, SLICE("\r\n"));
}

static int write_head(struct buf *out, const struct message *m, bool head_only,
                      void (*put_head)(struct pen *, const struct message *, bool))
{
    struct pen measure = { NULL, 0 };
    put_head(&measure, m, head_only);
    if (measure.bytes > buf_space(out))
        return -ENOBUFS;
    struct pen pen = { buf_reserve(out, measure.bytes), 0 };
    if (!pen.at)
        return -ENOMEM;
    put_head(&pen, m, head_only);
    buf_grow(out, pen.bytes);
    return 0;
}

int h1_write_request(struct buf *out, const struct message *m)
{
    struct slice target = message_target(m);
    if (!is_token(message_method(m)) || target.len == 0 || !chars_all(target, CHAR_TARGET) || !fields_valid(m)
        || m->framing == FRAMING_EOF)
        return -EINVAL;
    return write_head(out, m, false, put_request);
}

int h1_write_response(struct buf *out, const struct message *m, bool head_only)
{
    bool body = m->framing == FRAMING_CHUNKED || m->framing == FRAMING_EOF || m->length > 0;
    if (m->status < 100 || m->status > 999 || !chars_all(message_slice(m, m->reason), CHAR_VALUE) || !fields_valid(m))
        return -EINVAL;
    if (bodiless(m->status) && body && !(m->status == 304 && head_only))
        return -EINVAL;
    return write_head(out, m, head_only, put_response);
}

int h1_write_chunk(struct buf *out, struct slice data)
{
    static const char hex[] = "0123456789abcdef";
    char size[2 * sizeof data.len + 2];
    size_t first = sizeof size - 2;
    if (data.len == 0)
        return 0;
    size[first] = '\r';
    size[first + 1] = '\n';
    for (size_t left = data.len; left; left >>= 4)
        size[--first] = hex[left & 15];
    size_t line = sizeof size - first, space = buf_space(out);
    if (space < line + 2 || data.len > space - line - 2)
        return -ENOBUFS;
    struct pen pen = { buf_reserve(out, line + data.len + 2), 0 };
    if (!pen.at)
        return -ENOMEM;
    put(&pen, slice_of(size + first, line));
    put(&pen, data);
    put(&pen, SLICE("\r\n"));
    buf_grow(out, pen.bytes);
    return 0;
}

static void put_trailers(struct pen *pen, const struct message *m, bool head_only)
{
    (void)head_only;
    put(pen, SLICE("0\r\n"));
    if (m)
        put_fields(pen, m);
    put(pen, SLICE("\r\n"));
}

int h1_write_last_chunk(struct buf *out, const struct message *trailers)
{
    if (trailers && !fields_valid(trailers))
        return -EINVAL;
    return write_head(out, trailers, false, put_trailers);
}
