/* What goes: models to heads, data as the peer's credit allows. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "http/chars.h"
#include "http/h2_private.h"

#define NAMES_MAX (2 * MESSAGE_HEAD_MAX_BYTES)

/* One thread: a head is built here and copied by nghttp2. */
static nghttp2_nv pairs[MESSAGE_FIELDS_MAX + 8];
static char names[NAMES_MAX];
static size_t pair_count, names_used;

static void add(struct slice name, struct slice value, bool sensitive)
{
    pairs[pair_count++] = (nghttp2_nv){ .name = (uint8_t *)(uintptr_t)name.ptr,
                                        .value = (uint8_t *)(uintptr_t)value.ptr,
                                        .namelen = name.len,
                                        .valuelen = value.len,
                                        .flags = sensitive ? NGHTTP2_NV_FLAG_NO_INDEX : NGHTTP2_NV_FLAG_NONE };
}

/* RFC 9113 §8.2.1: names are in lower case; one that is so already is used where it lies.  -EINVAL: no name; -ENOMEM:
 * no room. */
static int lower(struct slice *io_name)
{
    struct slice name = *io_name;
    char *at = names + names_used;
    unsigned all = CHAR_TOKEN, any = 0;
    for (size_t i = 0; i < name.len; i++) {
        all &= chars_class[(unsigned char)name.ptr[i]];
        any |= chars_class[(unsigned char)name.ptr[i]];
    }
    if (!name.len || !all)
        return -EINVAL;
    if (!(any & CHAR_UPPER))
        return 0;
    if (name.len > sizeof names - names_used)
        return -ENOMEM;
    for (size_t i = 0; i < name.len; i++)
        at[i] = (char)(char_is(name.ptr[i], CHAR_UPPER) ? name.ptr[i] + 32 : name.ptr[i]);
    names_used += name.len;
    *io_name = slice_of(at, name.len);
    return 0;
}

static bool is_one_of(struct slice name, const char *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++) /* most names differ in the first letter */
        if (list[i][0] == name.ptr[0] && slice_eq(name, slice_str(list[i])))
            return true;
    return false;
}

/* Fields that other parts of the frame replace, or that HTTP/2 does not allow (RFC 9113 §8.2.2). */
static bool is_dropped(struct slice name)
{
    static const char *const list[] = { "host",       "content-length",   "connection",        "upgrade",
                                        "keep-alive", "proxy-connection", "transfer-encoding", "http2-settings" };
    return is_one_of(name, list, sizeof list / sizeof *list);
}

/* RFC 7541 §7.1.3: a value that a table keeps can be guessed by who shares the connection. */
static bool is_secret(struct slice name)
{
    static const char *const list[] = { "authorization", "cookie", "set-cookie" };
    return is_one_of(name, list, sizeof list / sizeof *list) || slice_starts(name, SLICE("proxy-"));
}

static int add_fields(const struct message *m)
{
    for (size_t i = 0; i < m->field_count; i++) {
        struct slice name = message_name_at(m, i), value = message_value_at(m, i);
        int failed = lower(&name);
        if (failed)
            return failed;
        if (!chars_all(value, CHAR_VALUE))
            return -EINVAL;
        if (!is_dropped(name))
            add(name, value, m->fields[i].sensitive || is_secret(name));
    }
    return 0;
}

static void add_length(const struct message *m, char digits[20])
{
    if (m->framing == FRAMING_LENGTH)
        add(SLICE("content-length"), str_u64(m->length, digits), false);
}

/* --- the data provider --- */

static void end_with_trailers(struct h2_stream *s, uint32_t *flags)
{
    *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
    pair_count = names_used = 0;
    if (add_fields(s->out_trailers) != 0)
        pair_count = 0;
    (void)!nghttp2_submit_trailer(s->h->session, s->id, pairs, pair_count);
}

static ssize_t read_data(nghttp2_session *session, int32_t id, uint8_t *dst, size_t len, uint32_t *flags,
                         nghttp2_data_source *source, void *arg)
{
    struct h2_stream *s = source->ptr;
    size_t take = s->out.len < len ? s->out.len : len;
    (void)dst;
    (void)arg;
    if (take == 0 && s->reset_due) {
        (void)!nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, id, s->reset_code);
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* no second reset by nghttp2 */
    }
    if (take == 0 && !s->out_end) {
        s->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (take == s->out.len && s->out_end) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        if (s->out_trailers)
            end_with_trailers(s, flags);
    }
    return (ssize_t)take;
}

static int send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head, size_t len,
                     nghttp2_data_source *source, void *arg)
{
    struct h2 *h = arg;
    struct h2_stream *s = source->ptr;
    struct slice bytes = buf_slice(&s->out);
    (void)session;
    (void)frame; /* no padding is ever asked for */
    if (!h->sink || h->sink->len >= h->sink_limit)
        return NGHTTP2_ERR_WOULDBLOCK;
    if (buf_add(h->sink, slice_of(head, 9)) != 0 || buf_add(h->sink, slice_of(bytes.ptr, len)) != 0) {
        h->out_of_memory = true;
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    buf_consume(&s->out, len);
    if (s->out.len == 0)
        buf_done(&s->out);
    h2_release(h, len);
    h2_guard_sent(h);
    if (s->space_asked && s->out.len == 0 && s->events) {
        s->space_due = true;
        h2_due(s);
    }
    return 0;
}

static nghttp2_data_provider provider_of(struct h2_stream *s)
{
    return (nghttp2_data_provider){ .source = { .ptr = s }, .read_callback = read_data };
}

static void resume(struct h2_stream *s)
{
    if (s->deferred && !s->closed) {
        s->deferred = false;
        (void)!nghttp2_session_resume_data(s->h->session, s->id);
    }
    h2_ask(s->h);
}

void h2_stream_reset_after(struct h2_stream *s, uint32_t code)
{
    s->reset_due = true;
    s->reset_code = code;
    resume(s);
}

/* --- heads --- */

static bool has_body(const struct message *m, bool bodiless)
{
    return !bodiless && m->framing != FRAMING_NONE && !(m->framing == FRAMING_LENGTH && m->length == 0);
}

static void expect_body(struct h2_stream *s, const struct message *m, bool bodiless)
{
    s->out_end = !has_body(m, bodiless);
    s->length_sent = m->framing == FRAMING_LENGTH && !bodiless;
    s->left = m->length;
}

static int send_request(struct h2_stream *s, const struct message *m)
{
    struct slice host = message_get(m, SLICE("host"), NULL), method = message_method(m), target = message_target(m);
    char length[20];
    if (!method.len || !chars_all(method, CHAR_TOKEN) || !target.len || !chars_all(target, CHAR_TARGET) || !host.len
        || m->framing == FRAMING_EOF)
        return -EINVAL;
    add(SLICE(":method"), method, false);
    add(SLICE(":scheme"), SLICE("https"), false);
    add(SLICE(":authority"), host, false);
    add(SLICE(":path"), target, false);
    int failed = add_fields(m);
    if (failed)
        return failed;
    add_length(m, length);
    expect_body(s, m, false);
    s->to_head = slice_eq(method, SLICE("HEAD"));
    nghttp2_data_provider provider = provider_of(s);
    int32_t id = nghttp2_submit_request(s->h->session, NULL, pairs, pair_count, s->out_end ? NULL : &provider, s);
    if (id < 0)
        return id == NGHTTP2_ERR_NOMEM ? -ENOMEM : -EPIPE;
    s->id = id;
    s->h->open++;
    return 0;
}

static int send_response(struct h2_stream *s, const struct message *m, bool bodiless)
{
    char status[4] = { (char)('0' + m->status / 100 % 10), (char)('0' + m->status / 10 % 10),
                       (char)('0' + m->status % 10) };
    char length[20];
    bool interim = m->status < 200;
    if (m->status < 100 || m->status > 999 || m->status == 101)
        return -EINVAL;
    add(SLICE(":status"), slice_of(status, 3), false);
    int failed = add_fields(m);
    if (failed)
        return failed;
    if (interim) {
        failed = nghttp2_submit_headers(s->h->session, NGHTTP2_FLAG_NONE, s->id, NULL, pairs, pair_count, NULL);
        return failed < 0 ? -EPIPE : 0;
    }
    if (m->status != 204)
        add_length(m, length);
    expect_body(s, m, bodiless);
    nghttp2_data_provider provider = provider_of(s);
    failed = nghttp2_submit_response(s->h->session, s->id, pairs, pair_count, s->out_end ? NULL : &provider);
    return failed ? -EPIPE : 0;
}

int h2_stream_head(struct h2_stream *s, const struct message *m, bool bodiless)
{
    bool serves = s->h->options.role == H2_SERVER;
    if (s->closed || s->h->lost)
        return 0; /* gone comes, or came */
    pair_count = names_used = 0;
    int failed = serves ? send_response(s, m, bodiless) : send_request(s, m);
    h2_ask(s->h);
    return failed;
}

int h2_stream_data(struct h2_stream *s, struct slice data)
{
    if (s->closed || data.len == 0)
        return 0;
    if (s->out_end || (s->length_sent && data.len > s->left))
        return -EPROTO;
    int failed = buf_add(&s->out, data);
    if (failed)
        return failed;
    s->left -= s->length_sent ? data.len : 0;
    h2_hold(s->h, data.len);
    resume(s);
    return 0;
}

static int keep_trailers(struct h2_stream *s, const struct message *trailers)
{
    if (!(s->out_trailers = malloc(sizeof *s->out_trailers)))
        return -ENOMEM;
    message_init(s->out_trailers);
    return message_copy(s->out_trailers, trailers);
}

int h2_stream_end(struct h2_stream *s, const struct message *trailers)
{
    if (s->closed || s->out_end)
        return 0;
    if (s->length_sent && s->left)
        return -EPROTO;
    int failed = trailers && trailers->field_count ? keep_trailers(s, trailers) : 0;
    if (failed)
        return failed;
    s->out_end = true;
    resume(s);
    return 0;
}

size_t h2_stream_space(struct h2_stream *s)
{
    if (s->out.len == 0)
        return H2_SPACE;
    s->space_asked = true;
    return s->out.len < H2_SPACE ? H2_SPACE - s->out.len : 0;
}

/* --- what became of it --- */

static int on_sent(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct h2 *h = arg;
    struct h2_stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (frame->hd.type == NGHTTP2_RST_STREAM && h->options.role == H2_SERVER
        && frame->rst_stream.error_code == H2_PROTOCOL_ERROR)
        (void)h2_guard_breach(h); /* made to reset, as costly as a reset */
    if (!s || (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA))
        return 0;
    s->head_out = true;
    if (!(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
        return 0;
    s->out_ended = true;
    if (!s->events && h->options.role == H2_SERVER && !s->end_came) /* RFC 9113 §8.1: answered early */
        (void)!nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, s->id, H2_NO_ERROR);
    return 0;
}

/* A request that could not be opened any more: the peer has seen nothing of it. */
static int on_not_sent(nghttp2_session *session, const nghttp2_frame *frame, int lib_error, void *arg)
{
    struct h2 *h = arg;
    (void)lib_error;
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    struct h2_stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    for (struct list *n = h->streams.next; !s && n != &h->streams; n = n->next) {
        struct h2_stream *other = LIST_ENTRY(n, struct h2_stream, node);
        if (other->id == frame->hd.stream_id)
            s = other;
    }
    if (!s || s->closed)
        return 0;
    h->open--;
    s->closed = true;
    s->gone = (struct h2_gone){ .code = H2_REFUSED_STREAM, .unprocessed = true };
    s->gone_due = true;
    if (s->events)
        h2_due(s);
    else if (!s->delivering)
        h2_stream_destroy(s);
    return 0;
}

void h2_out_callbacks(nghttp2_session_callbacks *callbacks)
{
    nghttp2_session_callbacks_set_send_data_callback(callbacks, send_data);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_sent);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(callbacks, on_not_sent);
}
