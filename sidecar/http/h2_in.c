/* What comes: heads, data to owners, ends. */
#include <stdlib.h>

#include "http/h2_private.h"

#define PIECE (16 * 1024)

static struct h2_stream *stream_of(nghttp2_session *session, int32_t id)
{
    return nghttp2_session_get_stream_user_data(session, id);
}

static bool serves(const struct h2 *h)
{
    return h->options.role == H2_SERVER;
}

/* --- delivery --- */

static void credit(struct h2_stream *s, size_t bytes)
{
    struct h2 *h = s->h;
    if (s->closed || s->end_came)
        return;
    (void)!nghttp2_session_consume_stream(h->session, s->id, bytes);
    s->kept_up += bytes;
    if (s->in.len || s->kept_up < s->window || s->window >= H2_WINDOW_MAX
        || h->options.budget->used > h->options.budget->max / 2)
        return;
    s->kept_up = 0;
    s->window = 2 * s->window < H2_WINDOW_MAX ? 2 * s->window : H2_WINDOW_MAX;
    (void)!nghttp2_session_set_local_window_size(h->session, NGHTTP2_FLAG_NONE, s->id, (int32_t)s->window);
}

static bool deliver_data(struct h2_stream *s)
{
    struct slice all = buf_slice(&s->in);
    struct slice piece = slice_of(all.ptr, all.len < PIECE ? all.len : PIECE);
    s->events->data(s->owner, piece);
    buf_consume(&s->in, piece.len);
    h2_release(s->h, piece.len);
    credit(s, piece.len);
    if (s->in.len == 0)
        buf_done(&s->in);
    return true;
}

/* A client's end counts at once: what it had sent needs no answer any more. */
static bool may_tell_gone(const struct h2_stream *s)
{
    return s->gone_due && (serves(s->h) || !(s->head_due || s->in.len || s->end_due));
}

/* One event.  false: none is due, or wanted. */
static bool step(struct h2_stream *s)
{
    if (may_tell_gone(s)) {
        struct h2_gone why = s->gone;
        s->gone_due = s->head_due = s->end_due = false;
        s->want = false;
        s->events->gone(s->owner, &why);
        return false;
    }
    if (s->space_due) {
        s->space_due = s->space_asked = false;
        s->events->space(s->owner);
        return true;
    }
    if (!s->want)
        return false;
    if (s->head_due) {
        s->head_due = false;
        s->events->head(s->owner, &s->head);
        return true;
    }
    if (s->in.len)
        return deliver_data(s);
    if (s->end_due) {
        s->end_due = false;
        s->events->end(s->owner, s->trailers_came ? &s->trailers : NULL);
        return true;
    }
    return false;
}

/* The owner has let go inside its event: what h2_stream_free() could not do then. */
static void deferred_free(struct h2_stream *s)
{
    size_t unread = s->in.len;
    buf_done(&s->in);
    h2_release(s->h, unread);
    if (s->closed || !s->id)
        h2_stream_destroy(s);
}

void h2_deliver(struct h2_stream *s)
{
    if (s->delivering || !s->events)
        return;
    s->delivering = true;
    while (s->events && step(s))
        ;
    s->delivering = false;
    if (!s->events)
        deferred_free(s);
}

/* --- heads --- */

static struct message *message_coming(struct h2_stream *s, const nghttp2_frame *frame)
{
    bool trailers = frame->headers.cat == NGHTTP2_HCAT_HEADERS && (serves(s->h) || s->final);
    return trailers ? &s->trailers : &s->head;
}

static int too_big(struct h2_stream *s)
{
    if (s->list_bytes <= H2_LIST_BOMB)
        return h2_head_refuse(s, 431, "head_too_large");
    h2_fail(s->h, "the head is larger than 256 KiB after decompression", H2_ENHANCE_YOUR_CALM);
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
                     const uint8_t *value, size_t value_len, uint8_t flags, void *arg)
{
    struct h2_stream *s = stream_of(session, frame->hd.stream_id);
    struct slice n = slice_of(name, name_len), v = slice_of(value, value_len);
    (void)arg;
    if (!s)
        return 0;
    s->list_bytes += name_len + value_len + 32; /* RFC 9113 §6.5.2 */
    if (s->list_bytes > H2_LIST_MAX)
        return too_big(s);
    return h2_head_field(s, message_coming(s, frame), n, v, (flags & NGHTTP2_NV_FLAG_NO_INDEX) != 0);
}

static int on_invalid_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
                             const uint8_t *value, size_t value_len, uint8_t flags, void *arg)
{
    (void)session;
    (void)frame;
    (void)name;
    (void)name_len;
    (void)value;
    (void)value_len;
    (void)flags;
    (void)arg;
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* PROTOCOL_ERROR for the stream (RFC 9113 §8.2.1) */
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct h2 *h = arg;
    struct h2_stream *s = stream_of(session, frame->hd.stream_id);
    if (!s && serves(h) && frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
        if (!(s = h2_stream_make(h)))
            return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
        s->id = frame->hd.stream_id;
        h->open++;
        (void)!nghttp2_session_set_stream_user_data(session, s->id, s);
    }
    if (!s)
        return 0;
    s->list_bytes = 0;
    struct message *m = message_coming(s, frame);
    if (m == &s->head && !serves(h)) {
        message_clear(m);
        s->head_due = false; /* a 1xx that was not wanted yet: the next head is worth more */
    }
    return 0;
}

static void open_request(struct h2_stream *s, bool ends)
{
    struct h2 *h = s->h;
    h2_head_judge(s);
    h2_head_framing(&s->head, ends, false);
    s->final = true;
    s->delivering = true;
    h->events->opened(h->owner, s, &s->head, s->refusal, s->refusal_reason);
    s->delivering = false;
    if (!s->events)
        deferred_free(s);
}

static void take_response(struct h2_stream *s, bool ends)
{
    int status = s->head.status;
    h2_head_framing(&s->head, ends, status < 200 || status == 204 || status == 304);
    if (status < 200 || status == 204) {
        s->head.framing = FRAMING_NONE;
        s->head.length = 0;
    }
    if (s->to_head && s->head.framing == FRAMING_CHUNKED)
        s->head.framing = FRAMING_NONE;
    s->final = status >= 200;
    s->head_due = true;
}

static void take_end(struct h2_stream *s)
{
    s->end_came = true;
    s->end_due = true;
}

static void break_off(struct h2_stream *s)
{
    (void)!nghttp2_submit_rst_stream(s->h->session, NGHTTP2_FLAG_NONE, s->id, H2_PROTOCOL_ERROR);
}

static void on_headers(struct h2_stream *s, const nghttp2_frame *frame)
{
    bool ends = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
    bool trailers = message_coming(s, frame) == &s->trailers;
    if (trailers)
        s->trailers_came = true;
    if (s->refusal && (trailers || !serves(s->h))) { /* too late to respond, or no owner */
        break_off(s);
        return;
    }
    if (ends)
        take_end(s);
    if (!trailers && serves(s->h))
        open_request(s, ends);
    else if (!trailers)
        take_response(s, ends);
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct h2 *h = arg;
    struct h2_stream *s;
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
        if (!(s = stream_of(session, frame->hd.stream_id)))
            return 0;
        on_headers(s, frame);
        break;
    case NGHTTP2_DATA:
        if (!(frame->hd.flags & NGHTTP2_FLAG_END_STREAM) || !(s = stream_of(session, frame->hd.stream_id)))
            return 0;
        take_end(s);
        break;
    case NGHTTP2_SETTINGS:
        if (!h2_strict_settings_came(h))
            h2_fail(h, "SETTINGS that make a window larger than 2^31-1", H2_FLOW_CONTROL_ERROR);
        if (!(frame->hd.flags & NGHTTP2_FLAG_ACK) && !h->told_settled) {
            h->told_settled = true;
            h->events->settled(h->owner);
        }
        return 0;
    case NGHTTP2_GOAWAY:
        h->goaway = true;
        h->events->leaving(h->owner);
        return 0;
    default: return 0;
    }
    if ((s = stream_of(session, frame->hd.stream_id)) && s->events) {
        h2_deliver(s); /* a 1xx before the head that may follow it at once */
        if ((s = stream_of(session, frame->hd.stream_id)) && s->events)
            h2_due(s);
    }
    return 0;
}

static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *arg)
{
    struct h2 *h = arg;
    (void)session;
    if (hd->type == NGHTTP2_SETTINGS)
        h2_strict_settings_come(h);
    return !h->failed && h2_guard_frame(h, hd) ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static int on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int lib_error, void *arg)
{
    struct h2 *h = arg;
    (void)session;
    (void)frame;
    if (!h->error)
        h->error = nghttp2_strerror(lib_error);
    (void)h2_guard_breach(h);
    return 0;
}

/* --- data --- */

static void take_credit(struct h2 *h, size_t bytes)
{
    struct h2_budget *b = h->options.budget;
    if (b->used < b->max) {
        (void)!nghttp2_session_consume_connection(h->session, bytes);
        return;
    }
    h->owed += bytes;
    if (list_empty(&h->owes))
        list_push(&b->owing, &h->owes);
}

static bool takes_at_once(const struct h2_stream *s)
{
    return s->want && !s->head_due && !s->in.len && !s->delivering;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data, size_t len, void *arg)
{
    struct h2 *h = arg;
    struct h2_stream *s = stream_of(session, id);
    struct slice bytes = slice_of(data, len);
    (void)flags;
    take_credit(h, len);
    if (!s || !s->events)
        return 0;
    if (s->head_due && s->want) /* the head has come in the same bytes */
        h2_deliver(s);
    if (!(s = stream_of(session, id)) || !s->events)
        return 0;
    if (takes_at_once(s)) {
        s->delivering = true;
        s->events->data(s->owner, bytes);
        s->delivering = false;
        if (s->events)
            credit(s, len);
        else
            deferred_free(s);
        return 0;
    }
    if (buf_add(&s->in, bytes) != 0) {
        (void)!nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, id, H2_INTERNAL_ERROR);
        return 0;
    }
    h2_hold(h, len);
    h2_due(s);
    return 0;
}

/* --- ends --- */

static int on_close(nghttp2_session *session, int32_t id, uint32_t code, void *arg)
{
    struct h2 *h = arg;
    struct h2_stream *s = stream_of(session, id);
    if (!s)
        return 0;
    h->open--;
    s->closed = true;
    bool whole = serves(h) ? s->out_ended : s->end_came;
    if (!s->events) {
        if (!s->delivering)
            h2_stream_destroy(s);
        return 0;
    }
    if (whole)
        return 0;
    s->gone = (struct h2_gone){ .code = code, .unprocessed = !serves(h) && code == H2_REFUSED_STREAM };
    s->gone_due = true;
    h2_due(s);
    return 0;
}

void h2_in_callbacks(nghttp2_session_callbacks *callbacks)
{
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_invalid_header_callback(callbacks, on_invalid_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks, on_begin_frame);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, on_invalid_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
}
