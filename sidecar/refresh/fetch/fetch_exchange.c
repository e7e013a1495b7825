#include "refresh/fetch/fetch_exchange.h"

#define READ_BYTES 16384 /* a TLS record: nothing stays behind in libcurl */
#define DOUBT_MS 500
#define REQUEST_MAX (4 * 1024 * 1024)

static void over(void *arg)
{
    struct fetch_exchange *x = arg;
    ev_io_stop(loop_get(), &x->io);
    timer_stop(&x->doubt);
    x->fn(x->arg);
}

void fetch_exchange_init(struct fetch_exchange *x, size_t body_max, fetch_exchange_fn *fn, void *arg)
{
    *x = (struct fetch_exchange){ .body_max = body_max, .fn = fn, .arg = arg };
    buf_init_secret(&x->request, REQUEST_MAX);
    buf_init_secret(&x->bytes, FETCH_HEAD_MAX + body_max + 2 * READ_BYTES);
    fetch_head_init(&x->head);
    fetch_body_init(&x->body, body_max);
    timer_init(&x->doubt, over, x);
}

void fetch_exchange_done(struct fetch_exchange *x)
{
    if (x->easy)
        ev_io_stop(loop_get(), &x->io);
    timer_stop(&x->doubt);
    fetch_body_done(&x->body);
    fetch_head_done(&x->head);
    buf_done(&x->bytes);
    buf_done(&x->request);
    x->easy = NULL;
}

static struct slice body_bytes(const struct fetch_exchange *x)
{
    return slice_skip(buf_slice(&x->bytes), x->head.body_at);
}

bool fetch_exchange_too_large(const struct fetch_exchange *x)
{
    return x->head.whole ? body_bytes(x).len > x->body_max : x->bytes.len > FETCH_HEAD_MAX;
}

/* true: there is nothing more to wait for. */
static bool judge(struct fetch_exchange *x)
{
    fetch_head_read(&x->head, buf_slice(&x->bytes), x->ended);
    if (x->head.whole)
        x->end = fetch_body_end(&x->body, &x->head, body_bytes(x));
    if (x->end == FETCH_BODY_DOUBTED && !timer_is_set(&x->doubt))
        timer_set(&x->doubt, DOUBT_MS);
    return x->ended || x->head.no_answer || x->end == FETCH_BODY_WHOLE || fetch_exchange_too_large(x);
}

bool fetch_exchange_look(struct fetch_exchange *x)
{
    bool all = false;
    while (!all) {
        char *room = buf_reserve(&x->bytes, READ_BYTES);
        size_t n = 0;
        CURLcode code = room ? curl_easy_recv(x->easy, room, READ_BYTES, &n) : CURLE_OUT_OF_MEMORY;
        if (code == CURLE_AGAIN)
            return false;
        x->ended = code != CURLE_OK || n == 0;
        x->code = code;
        if (room)
            buf_grow(&x->bytes, n);
        all = judge(x);
    }
    return true;
}

/* What cannot be sent any more need not be: the response may be there, and says why. */
static void send_some(struct fetch_exchange *x)
{
    while (x->request.len) {
        struct slice rest = buf_slice(&x->request);
        size_t n = 0;
        CURLcode code = curl_easy_send(x->easy, rest.ptr, rest.len, &n);
        if (code == CURLE_AGAIN)
            return;
        x->sent = x->sent || n > 0;
        buf_consume(&x->request, code == CURLE_OK ? n : rest.len);
    }
}

static void wait_for(struct fetch_exchange *x, curl_socket_t fd)
{
    ev_io_stop(loop_get(), &x->io);
    ev_io_set(&x->io, fd, EV_READ | (x->request.len ? EV_WRITE : 0));
    ev_io_start(loop_get(), &x->io);
}

static void on_ready(struct ev_loop *loop, ev_io *io, int revents)
{
    struct fetch_exchange *x = io->data;
    bool sending = x->request.len > 0;
    (void)loop, (void)revents;
    send_some(x);
    if (fetch_exchange_look(x))
        over(x);
    else if (sending && x->request.len == 0)
        wait_for(x, io->fd);
}

void fetch_exchange_start(struct fetch_exchange *x, CURL *easy)
{
    curl_socket_t fd = CURL_SOCKET_BAD;
    x->easy = easy;
    ev_init(&x->io, on_ready);
    x->io.data = x;
    curl_easy_getinfo(easy, CURLINFO_ACTIVESOCKET, &fd);
    if (fd == CURL_SOCKET_BAD) { /* gone at once */
        x->ended = true;
        x->code = CURLE_RECV_ERROR;
        timer_set(&x->doubt, 0);
        return;
    }
    send_some(x);
    wait_for(x, fd);
}

int fetch_exchange_status(const struct fetch_exchange *x)
{
    return x->head.whole || fetch_exchange_too_large(x) ? x->head.status : 0;
}

struct slice fetch_exchange_body(struct fetch_exchange *x, bool *ret_whole)
{
    struct slice body = slice_of("", 0);
    bool until_end = !x->head.has_length && !x->head.chunked;
    *ret_whole = x->head.whole && !fetch_exchange_too_large(x)
                 && (x->end != FETCH_BODY_OPEN || (until_end && x->ended && x->code == CURLE_OK));
    if (x->head.whole)
        body = fetch_body_get(&x->body, &x->head, body_bytes(x), *ret_whole);
    return slice_of(body.ptr, body.len < x->body_max ? body.len : x->body_max);
}
