/* Fields to the model of a head, and what RFC 9113 §8 says of it. */
#include <string.h>

#include "http/chars.h"
#include "http/h2_private.h"

int h2_head_refuse(struct h2_stream *s, int status, const char *reason)
{
    if (!s->refusal) {
        s->refusal = status;
        s->refusal_reason = reason;
    }
    return 0;
}

static int put(struct h2_stream *s, struct slice value, struct message_part *part)
{
    return message_put(&s->head, value, part) == 0 ? 0 : h2_head_refuse(s, 431, "head_too_large");
}

static int status_of(struct slice value)
{
    int status = 0;
    for (size_t i = 0; i < value.len; i++)
        status = 10 * status + (value.ptr[i] - '0');
    return status;
}

/* nghttp2 has seen to it that each is there once, before the fields, and well-formed (RFC 9113 §8.3). */
static int take_pseudo(struct h2_stream *s, struct slice name, struct slice value)
{
    if (slice_eq(name, SLICE(":method")))
        return put(s, value, &s->head.method);
    if (slice_eq(name, SLICE(":path"))) {
        if (value.len > s->h->options.line_bytes)
            return h2_head_refuse(s, 414, "request_line_too_long");
        return put(s, value, &s->head.target);
    }
    if (slice_eq(name, SLICE(":scheme")))
        return put(s, value, &s->scheme);
    if (slice_eq(name, SLICE(":authority")))
        return put(s, value, &s->authority);
    if (slice_eq(name, SLICE(":status")))
        s->head.status = status_of(value);
    return 0;
}

int h2_head_field(struct h2_stream *s, struct message *m, struct slice name, struct slice value, bool sensitive)
{
    if (s->refusal)
        return 0;
    if (name.len && name.ptr[0] == ':')
        return take_pseudo(s, name, value);
    if (m->field_count >= s->h->options.fields)
        return h2_head_refuse(s, 431, "too_many_fields");
    if (message_add(m, name, value) != 0)
        return h2_head_refuse(s, 431, "head_too_large");
    m->fields[m->field_count - 1].sensitive = sensitive;
    return 0;
}

/* RFC 9113 §8.2.3: cookie crumbs are joined to one field. */
static int join_cookies(struct message *m)
{
    static char joined[MESSAGE_HEAD_MAX_BYTES];
    size_t count, len = 0;
    bool sensitive = false;
    (void)message_get(m, SLICE("cookie"), &count);
    if (count < 2)
        return 0;
    for (size_t i = 0; i < m->field_count; i++) {
        struct slice crumb = message_value_at(m, i);
        if (!slice_eq(message_name_at(m, i), SLICE("cookie")))
            continue;
        if (crumb.len + 2 > sizeof joined - len)
            return -1;
        if (len) {
            memcpy(joined + len, "; ", 2);
            len += 2;
        }
        if (crumb.len)
            memcpy(joined + len, crumb.ptr, crumb.len);
        len += crumb.len;
        sensitive |= m->fields[i].sensitive;
    }
    if (message_set(m, SLICE("cookie"), slice_of(joined, len)) != 0)
        return -1;
    m->fields[m->field_count - 1].sensitive = sensitive;
    return 0;
}

/* nghttp2 has checked content-length: one, digits, and it agrees with END_STREAM. */
void h2_head_framing(struct message *m, bool ends, bool no_body)
{
    size_t lengths;
    uint64_t length;
    struct slice text = message_get(m, SLICE("content-length"), &lengths);
    if (lengths && slice_u64(text, INT64_MAX, &length) == 0) {
        m->framing = FRAMING_LENGTH;
        m->length = length;
    } else {
        m->framing = ends || no_body ? FRAMING_NONE : FRAMING_CHUNKED;
    }
    m->keep_alive = true;
    m->minor = 1;
    m->http2 = true;
}

/* RFC 9113 §8.3.1: :authority is what Host would say, and takes its place. */
static int write_host(struct h2_stream *s)
{
    size_t hosts;
    struct message *m = &s->head;
    struct slice authority = message_slice(m, s->authority), host = message_get(m, SLICE("host"), &hosts);
    if (!authority.len)
        return 0;
    if (hosts > 1 || (hosts == 1 && !slice_ieq(host, authority)))
        return h2_head_refuse(s, 400, "host_differs");
    if (hosts == 0 && message_add(m, SLICE("host"), authority) != 0)
        return h2_head_refuse(s, 431, "head_too_large");
    return 0;
}

void h2_head_judge(struct h2_stream *s)
{
    struct message *m = &s->head;
    bool connects = slice_eq(message_method(m), SLICE("CONNECT"));
    if (!connects && !slice_ieq(message_slice(m, s->scheme), SLICE("https")))
        h2_head_refuse(s, 421, "scheme_differs");
    if (!chars_all(message_method(m), CHAR_TOKEN) || !chars_all(message_target(m), CHAR_TARGET))
        h2_head_refuse(s, 400, "target_malformed");
    write_host(s);
    if (join_cookies(m) != 0)
        h2_head_refuse(s, 431, "head_too_large");
    m->expect_100 = slice_ieq(message_get(m, SLICE("expect"), NULL), SLICE("100-continue"));
}
