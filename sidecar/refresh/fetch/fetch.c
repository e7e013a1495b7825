/* libcurl's multi_socket interface on libev, until the connection is there: curl says which sockets and which timer,
 * the loop tells it what happened.  Each request has a multi handle of its own, so no other one takes its connection
 * for an idle one. */
#include "refresh/fetch/fetch.h"

#include "refresh/fetch/fetch_exchange.h"
#include "refresh/fetch/fetch_roots.h"
#include "refresh/fetch/fetch_route.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct fetch {
    struct list jobs;
    struct dial_options options;
    struct parent parent;
    struct fetch_roots roots;
};

struct fetch_job {
    struct list node;
    struct fetch *fetch;
    CURLM *multi;
    CURL *easy;
    struct timer timer; /* curl's */
    struct fetch_route way;
    struct fetch_exchange exchange;
    struct timer deadline; /* ours, not curl's: see last_look() */
    char *url;
    bool listed, connected; /* listed: in the multi handle */
    bool on_loopback;       /* the URL itself names loopback */
    bool metadata;          /* a metadata server is asked: the one way to a link-local address */
    bool forbidden;         /* the last address was refused by the policy */
    struct fetch_trust trust;
    char error[CURL_ERROR_SIZE], text[TLS_REFUSAL_TEXT + PARENT_NAME_MAX + 32];
    fetch_fn *fn;
    void *arg;
};

static void finish(struct fetch_job *job, CURLcode code);

/* ---- curl's sockets and timer on the loop, until it is connected ---- */

/* The job may be gone afterwards. */
static void reap(struct fetch_job *job)
{
    CURLMsg *m;
    int left;
    while (!job->connected && (m = curl_multi_info_read(job->multi, &left)))
        if (m->msg == CURLMSG_DONE && m->data.result == CURLE_OK) {
            job->connected = true;
            timer_stop(&job->timer);
            fetch_exchange_start(&job->exchange, job->easy);
        } else if (m->msg == CURLMSG_DONE) {
            finish(job, m->data.result);
            return;
        }
}

static void on_socket(struct ev_loop *loop, ev_io *io, int revents)
{
    struct fetch_job *job = io->data;
    int reads = revents & EV_READ ? CURL_CSELECT_IN : 0, writes = revents & EV_WRITE ? CURL_CSELECT_OUT : 0;
    int running, what = reads | writes;
    (void)loop;
    curl_multi_socket_action(job->multi, io->fd, what, &running);
    reap(job);
}

static void on_timer(void *arg)
{
    struct fetch_job *job = arg;
    int running;
    curl_multi_socket_action(job->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    reap(job);
}

static int set_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
    struct fetch_job *job = arg;
    ev_io *io = socket_arg;
    (void)easy;
    if (io)
        ev_io_stop(loop_get(), io);
    if (what == CURL_POLL_REMOVE) {
        curl_multi_assign(job->multi, fd, NULL);
        free(io);
        return 0;
    }
    if (!io) {
        io = calloc(1, sizeof *io);
        if (!io)
            return -1;
        curl_multi_assign(job->multi, fd, io);
    }
    int reading = what & CURL_POLL_IN ? EV_READ : 0, writing = what & CURL_POLL_OUT ? EV_WRITE : 0;
    ev_io_init(io, on_socket, fd, reading | writing);
    io->data = job;
    ev_io_start(loop_get(), io);
    return 0;
}

static int set_timer(CURLM *multi, long timeout_ms, void *arg)
{
    struct fetch_job *job = arg;
    (void)multi;
    if (timeout_ms >= 0)
        timer_set(&job->timer, timeout_ms);
    else
        timer_stop(&job->timer);
    return 0;
}

/* ---- one request ---- */

/* The address is judged here, after resolution, so no name can lead inside (docs/http.md 6.4). */
static curl_socket_t open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *to)
{
    struct fetch_job *job = arg;
    const struct sockaddr *sa = &to->addr;
    (void)purpose;
    enum address_class failure = address_class_of(sa);
    bool fits = job->way.overridden || job->way.by_parent
                || (job->metadata && (failure == ADDRESS_METADATA || failure == ADDRESS_LINK_LOCAL))
                || (job->on_loopback && failure == ADDRESS_LOOPBACK)
                || address_allowed(&job->fetch->options.policy, sa);
    job->forbidden = !fits;
    return fits ? socket(to->family, to->socktype | SOCK_CLOEXEC, to->protocol) : CURL_SOCKET_BAD;
}

/* Why there is no whole response, for people. */
static const char *end_text(const struct fetch_job *job, CURLcode code)
{
    const struct fetch_exchange *x = &job->exchange;
    if (job->forbidden)
        return "its address is private or link-local, which is not allowed (network.allow_private)";
    if (*job->trust.refusal)
        return job->trust.refusal;
    if (fetch_exchange_too_large(x))
        return x->head.whole ? "the response is larger than 4 MiB"
                             : "the response is empty or unreadable: its head is larger than 1 MiB";
    if (x->head.no_answer)
        return "the bytes that came are not HTTP";
    if (code != CURLE_OK)
        return *job->error ? job->error : curl_easy_strerror(code);
    return x->bytes.len ? "the connection was closed before the response was whole"
                        : "the connection was closed without a response";
}

static const char *error_text(struct fetch_job *job, CURLcode code)
{
    const char *text = end_text(job, code);
    if (!job->way.by_parent || job->forbidden || *job->trust.refusal || job->exchange.bytes.len)
        return text;
    snprintf(job->text, sizeof job->text, "through parent proxy %s: %s", job->fetch->parent.name, text);
    return job->text;
}

static void free_job(struct fetch_job *job)
{
    list_remove(&job->node);
    timer_stop(&job->deadline);
    fetch_exchange_done(&job->exchange);
    if (job->listed)
        curl_multi_remove_handle(job->multi, job->easy);
    curl_easy_cleanup(job->easy);
    curl_multi_cleanup(job->multi);
    timer_stop(&job->timer);
    fetch_route_done(&job->way);
    free(job->url);
    free(job);
}

static void finish(struct fetch_job *job, CURLcode code)
{
    char to[272];
    bool whole;
    struct fetch_exchange *x = &job->exchange;
    struct fetch_answer a = { .status = fetch_exchange_status(x),
                              .sent = x->sent,
                              .capped = fetch_exchange_too_large(x),
                              .body = fetch_exchange_body(x, &whole),
                              .date_s = x->head.date_s,
                              .retry_after = buf_slice(&x->head.retry_after),
                              .challenge = buf_slice(&x->head.challenge) };
    a.cut = !whole;
    a.error = a.cut ? error_text(job, code) : NULL;
    if (a.status >= 300 && a.status < 400)
        a.redirect = fetch_url_redirect(job->url, buf_slice(&x->head.location), to, sizeof to);
    job->fn(job->arg, &a);
    free_job(job);
}

static void on_exchanged(void *arg)
{
    struct fetch_job *job = arg;
    finish(job, job->exchange.code);
}

/* This process may have been stopped for longer than the request had, with the answer in the socket all the while; so
 * the time is ours to keep, and what has arrived is read before anything is given up. */
static void last_look(void *arg)
{
    struct fetch_job *job = arg;
    finish(job, job->connected && fetch_exchange_look(&job->exchange) ? job->exchange.code : CURLE_OPERATION_TIMEDOUT);
}

/* ---- what is sent ---- */

static bool is_given(const struct fetch_request *r, const char *name)
{
    for (size_t i = 0; i < r->field_count; i++)
        if (slice_ieq(slice_str(r->fields[i].name), slice_str(name)))
            return true;
    return false;
}

/* A field of the configuration takes the place of ours. */
static int add_ours(struct buf *to, const struct fetch_request *r, const char *name, const char *value)
{
    return is_given(r, name) ? 0 : buf_printf(to, "%s: %s\r\n", name, value);
}

static int add_fields(struct buf *to, const struct fetch_request *r)
{
    int failed = add_ours(to, r, "User-Agent", "sidekey/" SIDEKEY_VERSION);
    if (failed == 0)
        failed = add_ours(to, r, "Accept", "application/json");
    if (failed == 0)
        failed = buf_add(to, SLICE("Accept-Encoding: identity\r\nConnection: close\r\n"));
    if (failed == 0 && r->content_type)
        failed = buf_printf(to, "Content-Type: %s\r\nContent-Length: %zu\r\n", r->content_type, r->body.len);
    for (size_t i = 0; i < r->field_count && failed == 0; i++)
        failed = buf_printf(to, "%s: %s\r\n", r->fields[i].name, r->fields[i].value);
    if (failed == 0 && r->authorization.len)
        failed = buf_printf(to, "Authorization: %.*s\r\n", (int)r->authorization.len, r->authorization.ptr);
    return failed;
}

/* 0, or -errno. */
static int write_request(struct buf *to, const struct fetch_request *r)
{
    struct buf host;
    buf_init(&host, 512);
    int failed = buf_add_str(to, r->content_type ? "POST " : "GET ");
    if (failed == 0)
        failed = fetch_url_target(r->url, to, &host);
    if (failed == 0)
        failed = buf_printf(to, " HTTP/1.1\r\nHost: %.*s\r\n", (int)host.len, buf_slice(&host).ptr);
    buf_done(&host);
    if (failed == 0)
        failed = add_fields(to, r);
    if (failed == 0)
        failed = buf_add(to, SLICE("\r\n"));
    return failed == 0 && r->content_type ? buf_add(to, r->body) : failed;
}

#define SET(option, value)                                                                                             \
    if ((code = curl_easy_setopt(job->easy, (option), (value))) != CURLE_OK)                                           \
    return code

static CURLcode set_tls(struct fetch_job *job, const struct fetch_request *r)
{
    CURLcode code = fetch_roots_trust(&job->trust, job->easy);
    if (code != CURLE_OK)
        return code;
    SET(CURLOPT_SSL_VERIFYPEER, 1L);
    SET(CURLOPT_SSL_VERIFYHOST, 2L);
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (r->cert_file)
        SET(CURLOPT_SSLCERT, r->cert_file);
    if (r->key_file)
        SET(CURLOPT_SSLKEY, r->key_file);
    return CURLE_OK;
}

static CURLcode set_transfer(struct fetch_job *job, const struct fetch_request *r)
{
    CURLcode code;
    SET(CURLOPT_URL, r->url);
#if LIBCURL_VERSION_NUM >= 0x075500
    SET(CURLOPT_PROTOCOLS_STR, job->on_loopback || job->metadata ? "http,https" : "https");
#else
    SET(CURLOPT_PROTOCOLS,
        job->on_loopback || job->metadata ? (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS) : (long)CURLPROTO_HTTPS);
#endif
    SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_USERAGENT, "sidekey/" SIDEKEY_VERSION); /* what a parent proxy is told */
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)(r->timeout_ms < FETCH_CONNECT_MS ? r->timeout_ms : FETCH_CONNECT_MS));
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    /* One request, one fresh connection: a pooled one may be half dead, and a client that sends the request a second
     * time is what must not be. */
    SET(CURLOPT_CONNECT_ONLY, 1L);
    return CURLE_OK;
}

static CURLcode set_callbacks(struct fetch_job *job)
{
    CURLcode code;
    curl_multi_setopt(job->multi, CURLMOPT_SOCKETFUNCTION, set_socket);
    curl_multi_setopt(job->multi, CURLMOPT_SOCKETDATA, job);
    curl_multi_setopt(job->multi, CURLMOPT_TIMERFUNCTION, set_timer);
    curl_multi_setopt(job->multi, CURLMOPT_TIMERDATA, job);
    SET(CURLOPT_ERRORBUFFER, job->error);
    SET(CURLOPT_OPENSOCKETFUNCTION, open_socket);
    SET(CURLOPT_OPENSOCKETDATA, job);
    return CURLE_OK;
}

static int start(struct fetch_job *job, const struct fetch_request *r, struct err *e)
{
    struct fetch_place p;
    if (fetch_url_read(r->url, r->metadata, &p) != 0)
        return err_set(e, "token_url must be https, or http on loopback, without a user");
    job->on_loopback = p.loopback;
    job->metadata = r->metadata;
    job->trust = (struct fetch_trust){ .roots = &job->fetch->roots, .ca_file = r->ca_file };
    if (!job->easy || !job->multi || !job->url || write_request(&job->exchange.request, r) != 0)
        return err_set(e, "out of memory");
    job->way = (struct fetch_route){ .options = &job->fetch->options, .parent = &job->fetch->parent };
    if (fetch_route_choose(&job->way, &p, p.loopback || r->metadata, e) != 0)
        return -1;
    CURLcode code = set_callbacks(job);
    if (code == CURLE_OK)
        code = fetch_route_set(&job->way, job->easy);
    if (code == CURLE_OK)
        code = set_transfer(job, r);
    if (code == CURLE_OK)
        code = set_tls(job, r);
    if (code != CURLE_OK)
        return err_set(e, "cannot prepare the token request: %s", curl_easy_strerror(code));
    if (curl_multi_add_handle(job->multi, job->easy) != CURLM_OK)
        return err_set(e, "cannot start the token request");
    job->listed = true;
    timer_set(&job->deadline, r->timeout_ms);
    return 0;
}

struct fetch_job *fetch_start(struct fetch *f, const struct fetch_request *request, fetch_fn *fn, void *arg,
                              struct err *e)
{
    struct fetch_job *job = calloc(1, sizeof *job);
    if (!job) {
        err_set(e, "out of memory");
        return NULL;
    }
    *job = (struct fetch_job){ .fetch = f,
                               .fn = fn,
                               .arg = arg,
                               .easy = curl_easy_init(),
                               .multi = curl_multi_init(),
                               .url = strdup(request->url) };
    fetch_exchange_init(&job->exchange, FETCH_ANSWER_MAX, on_exchanged, job);
    timer_init(&job->timer, on_timer, job);
    timer_init(&job->deadline, last_look, job);
    list_init(&job->node);
    list_push(&f->jobs, &job->node);
    if (start(job, request, e) == 0)
        return job;
    free_job(job);
    return NULL;
}

void fetch_cancel(struct fetch_job *job)
{
    if (job)
        free_job(job);
}

struct fetch *fetch_new(const struct dial_options *options, struct err *e)
{
    if (fetch_curl_load(e) != 0)
        return NULL;
    struct fetch *f = calloc(1, sizeof *f);
    if (!f || fetch_curl_start() != CURLE_OK) {
        free(f);
        err_set(e, "cannot start libcurl");
        return NULL;
    }
    f->options = *options;
    if (parent_init(&f->parent, options->parent, e) != 0) {
        free(f);
        return NULL;
    }
    list_init(&f->jobs);
    fetch_roots_init(&f->roots);
    return f;
}

void fetch_free(struct fetch *f)
{
    if (!f)
        return;
    while (!list_empty(&f->jobs))
        free_job(LIST_ENTRY(f->jobs.next, struct fetch_job, node));
    fetch_roots_done(&f->roots);
    parent_done(&f->parent);
    free(f);
}

const char *fetch_library(void)
{
    return fetch_curl_load(NULL) == 0 ? curl_version() : "libcurl: not found";
}
