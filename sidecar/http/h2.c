/* The connection, and the life of its streams. */
#include "http/h2.h"

#include <errno.h>
#include <stdlib.h>

#include "http/h2_private.h"

#ifndef __has_feature
#define __has_feature(feature) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define SPARES_MAX 0 /* who uses a stream that is over shall be seen */
#else
#define SPARES_MAX 64
#endif
#define SPARE_TEXT_MAX 4096
#define SPARE_FIELDS_MAX 64
#define OUT_CAP (96 * 1024) /* a whole answer that was looked into, and its head */

/* --- credit --- */

void h2_budget_init(struct h2_budget *b, size_t max_bytes)
{
    *b = (struct h2_budget){ .max = max_bytes };
    list_init(&b->owing);
    list_init(&b->spares);
}

void h2_hold(struct h2 *h, size_t bytes)
{
    h->options.budget->used += bytes;
}

static void give_credit(struct h2 *h)
{
    size_t owed = h->owed;
    h->owed = 0;
    list_remove(&h->owes);
    (void)!nghttp2_session_consume_connection(h->session, owed);
    h2_ask(h);
}

void h2_release(struct h2 *h, size_t bytes)
{
    struct h2_budget *b = h->options.budget;
    b->used -= bytes;
    while (b->used < b->max && !list_empty(&b->owing))
        give_credit(LIST_ENTRY(b->owing.next, struct h2, owes));
}

/* --- the connection --- */

static nghttp2_option *make_option(enum h2_role role)
{
    nghttp2_option *option;
    if (nghttp2_option_new(&option) != 0)
        return NULL;
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_option_set_no_closed_streams(option, 1);
    nghttp2_option_set_server_fallback_rfc7540_priorities(option, 0);
    nghttp2_option_set_max_send_header_block_length(option, 2 * MESSAGE_HEAD_MAX_BYTES);
    nghttp2_option_set_max_reserved_remote_streams(option, 0);
    if (role == H2_SERVER) /* RFC 9218 §7: answers go in the order that the client asks for */
        nghttp2_option_set_builtin_recv_extension_type(option, NGHTTP2_PRIORITY_UPDATE);
    if (role == H2_CLIENT) /* nothing is opened before its SETTINGS are there */
        nghttp2_option_set_peer_max_concurrent_streams(option, 100);
    h2_guard_options(option);
    return option;
}

static int on_error(nghttp2_session *session, int lib_error, const char *text, size_t len, void *arg)
{
    struct h2 *h = arg;
    (void)session;
    (void)text;
    (void)len;
    if (!h->error)
        h->error = nghttp2_strerror(lib_error);
    return 0;
}

static int start_session(struct h2 *h)
{
    nghttp2_session_callbacks *callbacks = NULL;
    nghttp2_option *option = make_option(h->options.role);
    int failed = !option || nghttp2_session_callbacks_new(&callbacks) != 0;
    if (!failed) {
        nghttp2_session_callbacks_set_error_callback2(callbacks, on_error);
        h2_in_callbacks(callbacks);
        h2_out_callbacks(callbacks);
        failed = h->options.role == H2_SERVER ? nghttp2_session_server_new2(&h->session, callbacks, h, option)
                                              : nghttp2_session_client_new2(&h->session, callbacks, h, option);
    }
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_option_del(option);
    return failed ? -ENOMEM : 0;
}

static int say_settings(struct h2 *h)
{
    const nghttp2_settings_entry server[] = {
        { NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, H2_STREAMS_MAX },
        { NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, H2_LIST_MAX },
        { NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1 },
    };
    const nghttp2_settings_entry client[] = {
        { NGHTTP2_SETTINGS_ENABLE_PUSH, 0 },
        { NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, H2_LIST_MAX },
    };
    bool serves = h->options.role == H2_SERVER;
    int failed = nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, serves ? server : client, serves ? 3 : 2);
    if (failed == 0)
        failed = nghttp2_session_set_local_window_size(h->session, NGHTTP2_FLAG_NONE, 0, H2_CONNECTION_WINDOW);
    return failed;
}

struct h2 *h2_new(const struct h2_options *options, const struct h2_events *events, void *owner)
{
    struct h2 *h = calloc(1, sizeof *h);
    if (!h)
        return NULL;
    h->options = *options;
    h->events = events;
    h->owner = owner;
    list_init(&h->streams);
    list_init(&h->due);
    list_init(&h->owes);
    h2_guard_init(h);
    h2_strict_init(h);
    if (start_session(h) == 0 && say_settings(h) == 0)
        return h;
    h2_free(h);
    return NULL;
}

void h2_free(struct h2 *h)
{
    if (!h)
        return;
    while (!list_empty(&h->streams))
        h2_stream_destroy(LIST_ENTRY(h->streams.next, struct h2_stream, node));
    list_remove(&h->owes);
    nghttp2_session_del(h->session);
    free(h);
}

void h2_ask(struct h2 *h)
{
    if (!h->feeding)
        h->events->ready(h->owner);
}

/* The first error counts.  The GOAWAY that it leads to is still to be pulled. */
void h2_fail(struct h2 *h, const char *error, uint32_t code)
{
    if (h->failed)
        return;
    h->failed = true;
    h->error = error;
    (void)!nghttp2_session_terminate_session(h->session, code);
}

int h2_feed(struct h2 *h, struct slice bytes, int64_t now_ms)
{
    h->now_ms = now_ms;
    h->heard_ms = now_ms;
    h->feeding = true;
    size_t good = h2_strict_scan(h, bytes);
    ssize_t got = nghttp2_session_mem_recv(h->session, (const uint8_t *)bytes.ptr, good);
    h->feeding = false;
    if (got == NGHTTP2_ERR_NOMEM || h->out_of_memory)
        return -ENOMEM;
    if (got == NGHTTP2_ERR_FLOODED)
        h2_fail(h, "too many frames that need a response", H2_ENHANCE_YOUR_CALM);
    else if (got < 0)
        h2_fail(h, nghttp2_strerror((int)got), H2_PROTOCOL_ERROR);
    else if (good < bytes.len)
        h2_fail(h, h->strict.error, h->strict.code);
    h2_run(h);
    return h->failed ? -EPROTO : 0;
}

void h2_run(struct h2 *h)
{
    struct list due; /* those that are asked for meanwhile come in the next turn */
    list_take(&due, &h->due);
    for (struct list *n; (n = list_shift(&due)) != NULL;)
        h2_deliver(LIST_ENTRY(n, struct h2_stream, due));
    if (!list_empty(&h->due))
        h2_ask(h);
}

int h2_pull(struct h2 *h, struct buf *out, size_t limit)
{
    h->sink = out;
    h->sink_limit = limit;
    while (out->len < limit) {
        const uint8_t *bytes;
        ssize_t n = nghttp2_session_mem_send(h->session, &bytes);
        if (n == NGHTTP2_ERR_NOMEM || (n > 0 && buf_add(out, slice_of(bytes, (size_t)n)) != 0))
            h->out_of_memory = true;
        if (n <= 0 || h->out_of_memory)
            break;
    }
    h->sink = NULL;
    return h->out_of_memory ? -ENOMEM : 0;
}

void h2_lost(struct h2 *h)
{
    h->lost = true;
    for (struct list *n = h->streams.next; n != &h->streams; n = n->next) {
        struct h2_stream *s = LIST_ENTRY(n, struct h2_stream, node);
        bool whole = h->options.role == H2_SERVER ? s->out_ended : s->end_came;
        if (!s->closed && !whole && !s->gone_due) {
            s->gone = (struct h2_gone){ .code = H2_CANCEL, .connection = true, .unprocessed = !s->head_out };
            s->gone_due = true;
        }
        s->closed = true;
        if (s->gone_due && s->events)
            h2_due(s);
    }
    h->open = 0;
}

bool h2_over(const struct h2 *h)
{
    return !nghttp2_session_want_read(h->session) && !nghttp2_session_want_write(h->session);
}

size_t h2_open(const struct h2 *h)
{
    return h->open;
}

int64_t h2_heard_ms(const struct h2 *h)
{
    return h->heard_ms;
}

void h2_go_away(struct h2 *h, uint32_t code)
{
    (void)!nghttp2_submit_goaway(h->session, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(h->session),
                                 code, NULL, 0);
    h2_ask(h);
}

static bool is_stuck(struct h2_stream *s, int64_t now_ms, int64_t max_ms)
{
    if (s->events || !s->id || s->closed)
        return false;
    if (!s->stuck_ms || s->out.len != s->stuck_bytes) {
        s->stuck_ms = now_ms;
        s->stuck_bytes = s->out.len;
    }
    return now_ms - s->stuck_ms >= max_ms;
}

void h2_sweep(struct h2 *h, int64_t now_ms, int64_t max_ms)
{
    for (struct list *n = h->streams.next; n != &h->streams; n = n->next) {
        struct h2_stream *s = LIST_ENTRY(n, struct h2_stream, node);
        if (is_stuck(s, now_ms, max_ms))
            (void)!nghttp2_submit_rst_stream(h->session, NGHTTP2_FLAG_NONE, s->id, H2_CANCEL);
    }
    h2_ask(h);
}

void h2_ping(struct h2 *h)
{
    (void)!nghttp2_submit_ping(h->session, NGHTTP2_FLAG_NONE, NULL);
    h2_ask(h);
}

const char *h2_error(const struct h2 *h)
{
    return h->error ? h->error : "the connection was closed";
}

size_t h2_limit(const struct h2 *h)
{
    if (!h->told_settled || h->goaway || h->failed || h->lost || !nghttp2_session_check_request_allowed(h->session))
        return 0;
    return nghttp2_session_get_remote_settings(h->session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
}

/* --- streams --- */

static void free_stream(struct h2_stream *s)
{
    message_done(&s->head);
    free(s);
}

void h2_budget_done(struct h2_budget *b)
{
    for (struct list *n; (n = list_shift(&b->spares)) != NULL;)
        free_stream(LIST_ENTRY(n, struct h2_stream, node));
    b->spare_count = 0;
}

/* Takes over the stream, whose head alone has memory. */
static void keep_spare(struct h2_budget *b, struct h2_stream *s)
{
    if (b->spare_count >= SPARES_MAX || s->head.text.space > SPARE_TEXT_MAX || s->head.field_space > SPARE_FIELDS_MAX) {
        free_stream(s);
        return;
    }
    b->spare_count++;
    list_unshift(&b->spares, &s->node);
}

/* As if new.  NULL when out of memory. */
static struct h2_stream *take_spare(struct h2_budget *b)
{
    struct list *n = list_shift(&b->spares);
    struct h2_stream *s = n ? LIST_ENTRY(n, struct h2_stream, node) : calloc(1, sizeof *s);
    if (!n && s)
        message_init(&s->head);
    if (!n)
        return s;
    struct message head = s->head;
    b->spare_count--;
    message_clear(&head);
    *s = (struct h2_stream){ .head = head };
    return s;
}

struct h2_stream *h2_stream_make(struct h2 *h)
{
    struct h2_stream *s = take_spare(h->options.budget);
    if (!s)
        return NULL;
    s->h = h;
    s->window = H2_WINDOW_FIRST;
    list_init(&s->due);
    message_init(&s->trailers);
    buf_init(&s->in, 2 * H2_WINDOW_MAX); /* the window is the cap */
    buf_init(&s->out, OUT_CAP);
    list_push(&h->streams, &s->node);
    return s;
}

void h2_stream_destroy(struct h2_stream *s)
{
    struct h2 *h = s->h;
    size_t held = s->in.len + s->out.len;
    list_remove(&s->node);
    list_remove(&s->due);
    message_done(&s->trailers);
    if (s->out_trailers)
        message_done(s->out_trailers);
    free(s->out_trailers);
    buf_done(&s->in);
    buf_done(&s->out);
    keep_spare(h->options.budget, s);
    h2_release(h, held);
}

void h2_due(struct h2_stream *s)
{
    if (list_empty(&s->due))
        list_push(&s->h->due, &s->due);
    h2_ask(s->h);
}

struct h2_stream *h2_stream_new(struct h2 *h, const struct h2_stream_events *events, void *owner)
{
    struct h2_stream *s = h2_stream_make(h);
    if (s)
        h2_stream_own(s, events, owner);
    return s;
}

void h2_stream_own(struct h2_stream *s, const struct h2_stream_events *events, void *owner)
{
    s->events = events;
    s->owner = owner;
}

static void reset(struct h2_stream *s, uint32_t code)
{
    (void)!nghttp2_submit_rst_stream(s->h->session, NGHTTP2_FLAG_NONE, s->id, code);
    h2_ask(s->h);
}

void h2_stream_free(struct h2_stream *s, uint32_t code)
{
    bool serves = s->h->options.role == H2_SERVER;
    size_t unread = s->in.len;
    s->events = NULL;
    s->want = false;
    list_remove(&s->due);
    if (s->id && !s->closed) {
        if (serves && !s->out_end && s->out.len)
            h2_stream_reset_after(s, code);
        else if (!s->out_end || (!serves && !s->end_came))
            reset(s, code);
        else if (serves && s->out_ended && !s->end_came)
            reset(s, H2_NO_ERROR); /* RFC 9113 §8.1: answered early */
    }
    if (!s->delivering) {
        buf_done(&s->in);
        h2_release(s->h, unread);
    }
    if (!s->delivering && (s->closed || !s->id))
        h2_stream_destroy(s);
}

void h2_stream_want(struct h2_stream *s, bool want)
{
    if (s->want == want)
        return;
    s->want = want;
    if (want && (s->head_due || s->in.len || s->end_due || s->gone_due))
        h2_due(s);
}

bool h2_stream_started(const struct h2_stream *s)
{
    return s->final;
}

bool h2_stream_stalled(const struct h2_stream *s)
{
    return s->out.len > 0 || s->in.len > 0;
}
