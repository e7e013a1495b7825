/* libcurl's multi_socket interface on libev: curl says which sockets and which timer, the loop tells it what happened.
 */
#include "refresh/fetch/fetch.h"

#include "base/buf.h"
#include "net/timer.h"
#include "refresh/fetch/fetch_body.h"
#include "refresh/fetch/fetch_head.h"
#include "refresh/fetch/fetch_roots.h"
#include "refresh/fetch/fetch_url.h"
#include "refresh/fetch/fetch_route.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define HEAD_LARGE (256 * 1024) /* libcurl's limits are 100 KiB for a line of a head, and 300 KiB in all */
#define TOO_LARGE 100           /* CURLE_TOO_LARGE, which older headers do not have */
#define LAST_READS 1024         /* more than 4 MiB has TLS records */

struct fetch {
    CURLM *multi;
    struct list jobs;
    struct dial_options options;
    struct parent parent;
    struct timer timer;
    struct fetch_roots roots;
};

struct fetch_job {
    struct list node;
    struct fetch *fetch;
    CURL *easy;
    struct curl_slist *fields;
    struct fetch_route way;
    struct buf body;
    struct fetch_head head;
    struct fetch_body answer;
    struct timer deadline; /* ours, not curl's: see last_look() */
    curl_socket_t fd;      /* the last one that curl has waited for; CURL_SOCKET_BAD: none */
    bool late, listed;     /* listed: in the multi handle */
    bool on_loopback;      /* the URL itself names loopback */
    bool metadata;         /* a metadata server is asked: the one way to a link-local address */
    bool forbidden;        /* the last address was refused by the policy */
    struct fetch_trust trust;
    char error[CURL_ERROR_SIZE], text[TLS_REFUSAL_TEXT + PARENT_NAME_MAX + 32];
    fetch_fn *fn;
    void *arg;
};

/* ---- curl's sockets and timer on the loop ---- */

static void finish(struct fetch_job *job, CURLcode code);

static void reap(struct fetch *f)
{
    CURLMsg *m;
    int left;
    while ((m = curl_multi_info_read(f->multi, &left)))
        if (m->msg == CURLMSG_DONE) {
            struct fetch_job *job = NULL;
            CURLcode code = m->data.result;
            curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&job);
            finish(job, code);
        }
}

static void on_socket(struct ev_loop *loop, ev_io *io, int revents)
{
    struct fetch *f = io->data;
    int reads = revents & EV_READ ? CURL_CSELECT_IN : 0, writes = revents & EV_WRITE ? CURL_CSELECT_OUT : 0;
    int running, what = reads | writes;
    (void)loop;
    curl_multi_socket_action(f->multi, io->fd, what, &running);
    reap(f);
}

static void on_timer(void *arg)
{
    struct fetch *f = arg;
    int running;
    curl_multi_socket_action(f->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    reap(f);
}

/* This process may have been stopped for longer than the request had, with the answer in the socket all the while; curl
 * would look at the clock first and throw it away, and what the request spent with it.  So the time is ours to keep,
 * and what has arrived is read before anything is given up. */
static void last_look(void *arg)
{
    struct fetch_job *job = arg;
    struct fetch *f = job->fetch;
    for (int turn = 0, running;
         turn < LAST_READS && job->fd != CURL_SOCKET_BAD && poll(&(struct pollfd){ job->fd, POLLIN, 0 }, 1, 0) > 0;
         turn++) {
        curl_multi_socket_action(f->multi, job->fd, CURL_CSELECT_IN, &running);
        curl_multi_socket_action(f->multi, CURL_SOCKET_TIMEOUT, 0, &running); /* what curl has in its own buffers */
    }
    job->late = true;
    reap(f); /* frees the job when its answer is whole */
    for (struct list *l = f->jobs.next; l != &f->jobs; l = l->next)
        if (LIST_ENTRY(l, struct fetch_job, node)->late) {
            finish(LIST_ENTRY(l, struct fetch_job, node), CURLE_OPERATION_TIMEDOUT);
            return;
        }
}

static int set_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
    struct fetch *f = arg;
    struct fetch_job *job = NULL;
    ev_io *io = socket_arg;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&job);
    if (job && what != CURL_POLL_REMOVE)
        job->fd = fd;
    else if (job && job->fd == fd)
        job->fd = CURL_SOCKET_BAD;
    if (io)
        ev_io_stop(loop_get(), io);
    if (what == CURL_POLL_REMOVE) {
        curl_multi_assign(f->multi, fd, NULL);
        free(io);
        return 0;
    }
    if (!io) {
        io = calloc(1, sizeof *io);
        if (!io)
            return -1;
        curl_multi_assign(f->multi, fd, io);
    }
    int reading = what & CURL_POLL_IN ? EV_READ : 0, writing = what & CURL_POLL_OUT ? EV_WRITE : 0;
    ev_io_init(io, on_socket, fd, reading | writing);
    io->data = f;
    ev_io_start(loop_get(), io);
    return 0;
}

static int set_timer(CURLM *multi, long timeout_ms, void *arg)
{
    struct fetch *f = arg;
    (void)multi;
    if (timeout_ms >= 0)
        timer_set(&f->timer, timeout_ms);
    else
        timer_stop(&f->timer);
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

static size_t on_body(char *bytes, size_t size, size_t count, void *arg)
{
    struct fetch_job *job = arg;
    return fetch_body_add(&job->answer, slice_of(bytes, size * count)) ? size * count : 0;
}

/* What libcurl would only tell a debugger: the bytes of the body as they came. */
static int on_debug(CURL *easy, curl_infotype type, char *bytes, size_t size, void *arg)
{
    struct fetch_job *job = arg;
    (void)easy;
    if (type == CURLINFO_DATA_IN && job->head.whole)
        fetch_body_saw(&job->answer, slice_of(bytes, size));
    return 0;
}

static size_t on_header(char *bytes, size_t size, size_t count, void *arg)
{
    struct fetch_job *job = arg;
    fetch_head_line(&job->head, slice_of(bytes, size * count));
    return size * count;
}

/* What may have reached the server: curl counts the bytes of the request head that it wrote, and those of a CONNECT
 * with them.  Through a parent there is only https, whose request goes out after the handshake. */
static bool anything_sent(struct fetch_job *job)
{
    long bytes = 0;
    curl_off_t secured_us = 0;
    curl_easy_getinfo(job->easy, CURLINFO_REQUEST_SIZE, &bytes);
    curl_easy_getinfo(job->easy, CURLINFO_APPCONNECT_TIME_T, &secured_us);
    return bytes > 0 && (!job->way.by_parent || secured_us > 0);
}

static int status_told(const struct fetch_job *job)
{
    long status = 0;
    curl_easy_getinfo(job->easy, CURLINFO_RESPONSE_CODE, &status);
    return (int)status;
}

/* The response is there, and libcurl will not read its head: no version or status that it knows, no colon, a NUL, no
 * number as its length, too long.  To the server it is said and done. */
static bool head_refused(struct fetch_job *job, CURLcode code)
{
    if (job->head.whole)
        return false;
    if (code == CURLE_WEIRD_SERVER_REPLY || code == CURLE_UNSUPPORTED_PROTOCOL)
        return anything_sent(job);
    return status_told(job) > 0
           && (code == CURLE_OUT_OF_MEMORY || code == TOO_LARGE
               || (code == CURLE_RECV_ERROR && job->head.bytes > HEAD_LARGE));
}

static const char *error_text(struct fetch_job *job, CURLcode code)
{
    if (job->forbidden)
        return "the address of the token endpoint is not allowed (network.allow_private)";
    if (job->answer.too_large)
        return "the response is larger than 4 MiB";
    const char *text = *job->error ? job->error : curl_easy_strerror(code);
    if (code == CURLE_OK)
        text = "the bytes that came are not HTTP";
    if (*job->trust.refusal)
        text = job->trust.refusal;
    if (head_refused(job, code)) {
        snprintf(job->text, sizeof job->text, "the response is empty or unreadable: %s",
                 code == CURLE_OUT_OF_MEMORY ? "a header field is too long" : text);
        return job->text;
    }
    if (!job->way.by_parent)
        return text;
    snprintf(job->text, sizeof job->text, "through parent proxy %s: %s", job->fetch->parent.name, text);
    return job->text;
}

static void free_job(struct fetch_job *job)
{
    list_remove(&job->node);
    timer_stop(&job->deadline);
    if (job->listed)
        curl_multi_remove_handle(job->fetch->multi, job->easy);
    curl_easy_cleanup(job->easy);
    for (struct curl_slist *field = job->fields; field; field = field->next)
        explicit_bzero(field->data, strlen(field->data));
    curl_slist_free_all(job->fields);
    fetch_route_done(&job->way);
    buf_done(&job->body);
    fetch_body_done(&job->answer);
    fetch_head_done(&job->head);
    free(job);
}

/* 0: no response, or not even its head.  One whose status nobody can read counts as a success: it may have been. */
static int status_of(struct fetch_job *job, bool refused)
{
    size_t at = 0;
    int status = status_told(job);
    if (job->head.whole)
        return status;
    if (refused)
        return status >= 200 ? status : 200;
    status = fetch_head_find(&job->head, buf_slice(&job->answer.given), &at);
    buf_consume(&job->answer.given, at);
    return status;
}

static void finish(struct fetch_job *job, CURLcode code)
{
    char to[272];
    bool refused = head_refused(job, code);
    struct fetch_answer a = { .sent = anything_sent(job), .capped = job->answer.too_large || refused };
    int status = status_of(job, refused);
    a.cut = code != CURLE_OK || status == 0;
    a.error = a.cut ? error_text(job, code) : NULL;
    if (status) {
        a.status = status;
        a.redirect = fetch_url_redirect(job->easy, to, sizeof to);
        job->answer.chunked = job->head.chunked;
        a.body = fetch_body_get(&job->answer, a.cut);
    }
    a.date_s = job->head.date_s;
    a.retry_after = buf_slice(&job->head.retry_after);
    a.challenge = buf_slice(&job->head.challenge);
    job->fn(job->arg, &a);
    free_job(job);
}

static int add_field(struct fetch_job *job, const char *name, struct slice value)
{
    struct buf line;
    buf_init_secret(&line, value.len + 64);
    int failed = buf_printf(&line, "%s: ", name);
    if (failed == 0)
        failed = buf_add(&line, value);
    if (failed == 0)
        failed = buf_add(&line, slice_of("", 1));
    struct curl_slist *longer = failed ? NULL : curl_slist_append(job->fields, buf_slice(&line).ptr);
    buf_done(&line);
    if (!longer)
        return -ENOMEM;
    job->fields = longer;
    return 0;
}

static int add_fields(struct fetch_job *job, const struct fetch_request *r)
{
    int failed = add_field(job, "Accept", SLICE("application/json"));
    if (failed == 0)
        failed = add_field(job, "Accept-Encoding", SLICE("identity"));
    if (failed == 0 && r->content_type)
        failed = add_field(job, "Content-Type", slice_str(r->content_type));
    for (size_t i = 0; i < r->field_count && failed == 0; i++)
        failed = add_field(job, r->fields[i].name, slice_str(r->fields[i].value));
    if (failed == 0)
        failed = add_field(job, "Expect", SLICE("")); /* no 100-continue: one round trip */
    if (failed == 0 && r->authorization.len)
        failed = add_field(job, "Authorization", r->authorization);
    return failed;
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
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_USERAGENT, "sidekey/" SIDEKEY_VERSION);
    SET(CURLOPT_HTTPHEADER, job->fields);
    if (r->content_type) {
        SET(CURLOPT_POST, 1L);
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)job->body.len);
        SET(CURLOPT_POSTFIELDS, job->body.len ? buf_slice(&job->body).ptr : "");
    }
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)(r->timeout_ms < FETCH_CONNECT_MS ? r->timeout_ms : FETCH_CONNECT_MS));
    /* One request, one fresh connection: a pooled one may be half dead, and then curl itself would send the request a
     * second time. */
    SET(CURLOPT_FRESH_CONNECT, 1L);
    SET(CURLOPT_FORBID_REUSE, 1L);
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(CURLOPT_HTTP_TRANSFER_DECODING, 0L); /* refresh/fetch/fetch_body undoes it */
    SET(CURLOPT_HTTP09_ALLOWED, 1L);         /* what has no head comes as a body: refresh/fetch/fetch_head */
    return CURLE_OK;
}

static CURLcode set_callbacks(struct fetch_job *job)
{
    CURLcode code;
    SET(CURLOPT_PRIVATE, job);
    SET(CURLOPT_ERRORBUFFER, job->error);
    SET(CURLOPT_WRITEFUNCTION, on_body);
    SET(CURLOPT_WRITEDATA, job);
    SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L); /* a parent proxy's are not the token endpoint's */
    SET(CURLOPT_HEADERFUNCTION, on_header);
    SET(CURLOPT_HEADERDATA, job);
    SET(CURLOPT_VERBOSE, 1L);
    SET(CURLOPT_DEBUGFUNCTION, on_debug);
    SET(CURLOPT_DEBUGDATA, job);
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
    if (!job->easy || add_fields(job, r) != 0 || buf_add(&job->body, r->body) != 0)
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
    if (curl_multi_add_handle(job->fetch->multi, job->easy) != CURLM_OK)
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
    *job = (struct fetch_job){ .fetch = f, .fn = fn, .arg = arg, .easy = curl_easy_init() };
    buf_init_secret(&job->body, request->body.len);
    fetch_body_init(&job->answer, FETCH_ANSWER_MAX);
    fetch_head_init(&job->head);
    timer_init(&job->deadline, last_look, job);
    job->fd = CURL_SOCKET_BAD;
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
    if (!f || fetch_curl_start() != CURLE_OK || !(f->multi = curl_multi_init())) {
        free(f);
        err_set(e, "cannot start libcurl");
        return NULL;
    }
    f->options = *options;
    if (parent_init(&f->parent, options->parent, e) != 0) {
        curl_multi_cleanup(f->multi);
        free(f);
        return NULL;
    }
    list_init(&f->jobs);
    fetch_roots_init(&f->roots);
    timer_init(&f->timer, on_timer, f);
    curl_multi_setopt(f->multi, CURLMOPT_SOCKETFUNCTION, set_socket);
    curl_multi_setopt(f->multi, CURLMOPT_SOCKETDATA, f);
    curl_multi_setopt(f->multi, CURLMOPT_TIMERFUNCTION, set_timer);
    curl_multi_setopt(f->multi, CURLMOPT_TIMERDATA, f);
    return f;
}

void fetch_free(struct fetch *f)
{
    if (!f)
        return;
    while (!list_empty(&f->jobs))
        free_job(LIST_ENTRY(f->jobs.next, struct fetch_job, node));
    curl_multi_cleanup(f->multi);
    timer_stop(&f->timer);
    fetch_roots_done(&f->roots);
    parent_done(&f->parent);
    free(f);
}

const char *fetch_library(void)
{
    return fetch_curl_load(NULL) == 0 ? curl_version() : "libcurl: not found";
}
