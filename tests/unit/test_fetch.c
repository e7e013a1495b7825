/* links: tests/fakes/tls_world.c */
/* Token requests over real sockets and real TLS: a server in a child process does what the path says. */
#include <openssl/err.h>
#include "tests/fakes/tls_world.h"

#include "base/clock.h"
#include "refresh/fetch/fetch.h"

#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))
#define MIB (1024 * 1024)
#define PATIENCE_MS 30000
#define STOPPED_MS 2400

/* ---- the server ---- */

struct peer {
    int fd;
    SSL *ssl; /* NULL: plain */
};

static int put(struct peer *p, const char *bytes, size_t n)
{
    return p->ssl ? SSL_write(p->ssl, bytes, (int)n) > 0 : send(p->fd, bytes, n, MSG_NOSIGNAL) == (ssize_t)n;
}

static int say(struct peer *p, const char *text)
{
    return put(p, text, strlen(text));
}

/* Percent-escaped text, up to a blank. */
static void say_unescaped(struct peer *p, const char *text)
{
    char out[256], hex[3] = { 0 };
    size_t n = 0;
    for (; *text && *text != ' ' && n < sizeof out; text++) {
        bool escaped = *text == '%';
        if (escaped)
            memcpy(hex, text + 1, 2);
        out[n++] = escaped ? (char)strtoul(hex, NULL, 16) : *text;
        text += escaped ? 2 : 0;
    }
    (void)put(p, out, n);
}

static size_t get(struct peer *p, char *bytes, size_t size)
{
    int n = p->ssl ? SSL_read(p->ssl, bytes, (int)size) : (int)recv(p->fd, bytes, size, 0);
    return n > 0 ? (size_t)n : 0;
}

/* Head and body of one request as text. */
static void read_request(struct peer *p, char *text, size_t size)
{
    size_t len = 0, n, want = SIZE_MAX;
    while (len < want && len < size - 1 && (n = get(p, text + len, size - 1 - len)) > 0) {
        text[len += n] = '\0';
        const char *end = strstr(text, "\r\n\r\n"), *length = strcasestr(text, "\r\ncontent-length:");
        if (end)
            want = (size_t)(end + 4 - text) + (length && length < end ? strtoul(length + 17, NULL, 10) : 0);
    }
}

static void answer_with(struct peer *p, size_t bytes)
{
    static char block[65536];
    char head[128];
    memset(block, 'x', sizeof block);
    snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
    say(p, head);
    for (size_t left = bytes; left > 0;) {
        size_t n = left < sizeof block ? left : sizeof block;
        if (!put(p, block, n))
            return;
        left -= n;
    }
}

/* Says text, then one byte after the other until the client has had enough. */
static void drip(struct peer *p, const char *text)
{
    say(p, text);
    while (say(p, "x"))
        usleep(10000);
}

static void echo(struct peer *p, const char *request)
{
    char head[256];
    snprintf(head, sizeof head,
             "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nRetry-After: 7\r\nContent-Length: %zu\r\n\r\n",
             strlen(request));
    say(p, head);
    say(p, request);
}

/* "PID/…": the client stands still for longer than its deadline; its answer, if it gets one, is there when it goes on.
 */
static void stop_client(struct peer *p, const char *words)
{
    char *rest;
    pid_t client = (pid_t)strtol(words, &rest, 10);
    kill(client, SIGSTOP);
    if (strncmp(rest, "/whole", 6) == 0)
        answer_with(p, 100000);
    else if (strncmp(rest, "/half", 5) == 0)
        say(p, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf an answer");
    if (p->ssl && strncmp(rest, "/whole", 6) == 0) {
        SSL_shutdown(p->ssl);
        shutdown(p->fd, SHUT_WR);
    }
    usleep(STOPPED_MS * 1000);
    kill(client, SIGCONT);
    if (strncmp(rest, "/whole", 6) != 0)
        (void)get(p, (char[16]){ 0 }, 16);
}

static void serve(struct peer *p)
{
    static char request[65536];
    read_request(p, request, sizeof request);
    const char *path = strchr(request, '/');
    bool known = p->ssl && SSL_get0_peer_certificate(p->ssl) && SSL_get_verify_result(p->ssl) == X509_V_OK;
    if (!path)
        return;
    if (strncmp(path, "/redirect-away", 14) == 0)
        say(p, "HTTP/1.1 307 Away\r\nLocation: https://user:hunter2@Elsewhere.test/hunter3?code=hunter4\r\n"
               "Content-Length: 0\r\n\r\n");
    else if (strncmp(path, "/redirect-odd", 13) == 0)
        say(p, "HTTP/1.1 302 Odd\r\nLocation: gopher://x\r\nContent-Length: 0\r\n\r\n");
    else if (strncmp(path, "/redirect", 9) == 0)
        say(p, "HTTP/1.1 302 Found\r\nLocation: /echo\r\nContent-Length: 5\r\n\r\nthere");
    else if (strncmp(path, "/bytes/", 7) == 0)
        answer_with(p, strtoul(path + 7, NULL, 10));
    else if (strncmp(path, "/drip-body", 10) == 0)
        drip(p, "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
    else if (strncmp(path, "/drip-head", 10) == 0)
        drip(p, "HTTP/1.1 200 OK\r\nX-Slow: ");
    else if (strncmp(path, "/silent", 7) == 0)
        (void)get(p, request, sizeof request); /* until the client leaves */
    else if (strncmp(path, "/cut", 4) == 0)
        say(p, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf an answer");
    else if (strncmp(path, "/no-colon", 9) == 0)
        say(p, "HTTP/1.1 200 OK\r\nno colon\r\n\r\n{}");
    else if (strncmp(path, "/no-length", 10) == 0)
        say(p, "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n{}");
    else if (strncmp(path, "/no-status", 10) == 0)
        say(p, "HTTP/1.1 200");
    else if (strncmp(path, "/as-it-is/", 10) == 0)
        say_unescaped(p, path + 10);
    else if (strncmp(path, "/stop/", 6) == 0)
        stop_client(p, path + 6);
    else if (strncmp(path, "/mtls", 5) == 0)
        say(p, known ? "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nknown"
                     : "HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n");
    else
        echo(p, request);
}

static void run_server(int listener, SSL_CTX *ctx, bool mute)
{
    signal(SIGPIPE, SIG_IGN);
    for (;;) {
        struct peer p = { accept(listener, NULL, NULL), ctx ? SSL_new(ctx) : NULL };
        char byte;
        if (p.fd < 0)
            _exit(1);
        ERR_clear_error(); /* a handshake that a client gave up must not fail the next one */
        if (mute)
            while (recv(p.fd, &byte, 1, 0) > 0)
                ;
        else if (!p.ssl || (SSL_set_fd(p.ssl, p.fd) == 1 && SSL_accept(p.ssl) == 1))
            serve(&p);
        if (p.ssl)
            SSL_shutdown(p.ssl);
        SSL_free(p.ssl);
        close(p.fd);
    }
}

static struct server {
    pid_t pid;
    uint16_t port;
} secure, plain, mute;

static struct server start_server(SSL_CTX *ctx, bool is_mute)
{
    struct server s;
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, 16), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    s.port = ntohs(at.sin_port);
    s.pid = fork();
    assert_true(s.pid >= 0);
    if (s.pid == 0)
        run_server(fd, ctx, is_mute);
    close(fd);
    return s;
}

static void stop_server(struct server *s)
{
    kill(s->pid, SIGKILL);
    waitpid(s->pid, NULL, 0);
}

static char *client_cert, *client_key;

static int setup(void **state)
{
    world_up(state);
    struct cert leaf =
        cert_make((struct cert_spec){ .cn = "login.test", .san = "DNS:login.test,IP:127.0.0.1", .by = &world_ca });
    struct cert client = cert_make((struct cert_spec){ .cn = "client", .san = "DNS:client.test", .by = &world_ca });
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    assert_true(SSL_CTX_use_certificate(ctx, leaf.x509) == 1 && SSL_CTX_use_PrivateKey(ctx, leaf.key) == 1);
    assert_int_equal(SSL_CTX_load_verify_locations(ctx, world_ca_file, NULL), 1);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL); /* asked for, not demanded */
    /* Without it OpenSSL refuses to resume a session that had a client certificate asked for. */
    assert_int_equal(SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"test", 4), 1);
    client_cert = cert_file(client.x509, NULL);
    client_key = cert_file(NULL, client.key);
    secure = start_server(ctx, false);
    plain = start_server(NULL, false);
    mute = start_server(NULL, true);
    SSL_CTX_free(ctx);
    cert_done(&leaf);
    cert_done(&client);
    return 0;
}

static int teardown(void **state)
{
    stop_server(&secure);
    stop_server(&plain);
    stop_server(&mute);
    unlink(client_cert);
    unlink(client_key);
    free(client_cert);
    free(client_key);
    return world_down(state);
}

/* ---- the client ---- */

struct seen {
    int calls, status;
    bool sent, cut, capped;
    char body[4096], error[512], retry_after[16], redirect[272];
    size_t body_len;
    int64_t date_s, took_ms;
};

static void on_answer(void *arg, const struct fetch_answer *a)
{
    struct seen *s = arg;
    s->calls++;
    s->status = a->status;
    s->sent = a->sent;
    s->cut = a->cut;
    s->capped = a->capped;
    s->body_len = a->body.len;
    s->date_s = a->date_s;
    snprintf(s->body, sizeof s->body, "%.*s", (int)(a->body.len < sizeof s->body ? a->body.len : sizeof s->body - 1),
             a->body.len ? a->body.ptr : "");
    snprintf(s->error, sizeof s->error, "%s", a->error ? a->error : "");
    snprintf(s->redirect, sizeof s->redirect, "%s", a->redirect ? a->redirect : "");
    snprintf(s->retry_after, sizeof s->retry_after, "%.*s", (int)a->retry_after.len,
             a->retry_after.len ? a->retry_after.ptr : "");
}

static struct address loopback(uint16_t port)
{
    struct address a;
    assert_int_equal(address_parse(SLICE("127.0.0.1"), port, &a), 0);
    return a;
}

/* login.test and other.test lead to the TLS server, quiet.test to the one that never answers, the metadata server to
 * the plain one. */
static struct dial_override overrides[5];

static struct fetch *make_fetch(const struct dial_options *options)
{
    struct err e = { "" };
    struct fetch *f = fetch_new(options, &e);
    if (!f)
        fail_msg("%s", e.text);
    return f;
}

static struct dial_options network(void)
{
    static char login[] = "login.test", other[] = "other.test", quiet[] = "quiet.test", metadata[] = "169.254.169.254",
                named[] = "metadata.google.internal";
    overrides[0] = (struct dial_override){ login, 443, loopback(secure.port) };
    overrides[1] = (struct dial_override){ other, 0, loopback(secure.port) };
    overrides[2] = (struct dial_override){ quiet, 443, loopback(mute.port) };
    overrides[3] = (struct dial_override){ metadata, 80, loopback(plain.port) };
    overrides[4] = (struct dial_override){ named, 80, loopback(plain.port) };
    return (struct dial_options){ .overrides = overrides, .override_count = COUNT(overrides) };
}

static struct fetch_request request(const char *url)
{
    return (struct fetch_request){ .url = url,
                                   .content_type = "application/x-www-form-urlencoded",
                                   .body = SLICE("a=b"),
                                   .ca_file = world_ca_file,
                                   .timeout_ms = PATIENCE_MS };
}

static struct seen ask_by(struct fetch *f, const struct fetch_request *r)
{
    struct seen s = { 0 };
    struct err e = { "" };
    int64_t begin_ms = clock_mono_ms();
    if (!fetch_start(f, r, on_answer, &s, &e))
        fail_msg("%s: %s", r->url, e.text);
    assert_int_equal(s.calls, 0); /* never from inside the call */
    while (s.calls == 0 && clock_mono_ms() - begin_ms < 2 * PATIENCE_MS)
        ev_run(loop_get(), EVRUN_ONCE);
    s.took_ms = clock_mono_ms() - begin_ms;
    assert_int_equal(s.calls, 1);
    return s;
}

static struct seen ask(const struct fetch_request *r)
{
    struct dial_options options = network();
    struct fetch *f = make_fetch(&options);
    struct seen s = ask_by(f, r);
    fetch_free(f);
    return s;
}

static struct seen ask_url(const char *url)
{
    struct fetch_request r = request(url);
    return ask(&r);
}

static void a_post_over_verified_tls_arrives_whole(void **state)
{
    struct credential_spec_param fields[] = { { (char *)(uintptr_t)"anthropic-beta", (char *)(uintptr_t)"x,y" } };
    struct fetch_request r = request("https://login.test/token?x=1");
    (void)state;
    r.authorization = SLICE("Basic abc");
    r.fields = fields;
    r.field_count = 1;
    struct seen s = ask(&r);
    static const char *const parts[] = {
        "POST /token?x=1 HTTP/1.1\r\n",  "Host: login.test\r\n",
        "Authorization: Basic abc\r\n",  "Accept: application/json\r\n",
        "Accept-Encoding: identity\r\n", "Content-Type: application/x-www-form-urlencoded\r\n",
        "anthropic-beta: x,y\r\n",       "\r\n\r\na=b"
    };
    assert_int_equal(s.status, 200);
    for (size_t i = 0; i < COUNT(parts); i++)
        if (!strstr(s.body, parts[i]))
            fail_msg("%s is not in %s", parts[i], s.body);
    assert_null(strstr(s.body, "Expect:"));
    assert_true(s.date_s == 784111777);
    assert_string_equal(s.retry_after, "7");
}

static void without_a_content_type_it_is_a_get(void **state)
{
    struct fetch_request r = request("https://login.test/token");
    (void)state;
    r.content_type = NULL;
    r.body = SLICE("");
    struct seen s = ask(&r);
    assert_int_equal(s.status, 200);
    assert_true(strncmp(s.body, "GET /token HTTP/1.1\r\n", 21) == 0);
    assert_null(strcasestr(s.body, "content-"));
}

static void a_certificate_that_does_not_verify_gets_nothing(void **state)
{
    struct fetch_request unknown = request("https://login.test/token");
    (void)state;
    unknown.ca_file = NULL; /* the system does not know the authority */
    struct seen s = ask(&unknown);
    assert_int_equal(s.status, 0);
    assert_false(s.sent);
    assert_non_null(strcasestr(s.error, "certificate"));
    s = ask_url("https://other.test/token"); /* good authority, another name */
    assert_int_equal(s.status, 0);
    assert_false(s.sent);
    assert_non_null(strcasestr(s.error, "other.test"));
}

static void put_file(const char *path, const char *text)
{
    char next[64];
    snprintf(next, sizeof next, "%s.next", path);
    FILE *f = fopen(next, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(rename(next, path), 0);
}

static void read_text(const char *path, char *text, size_t size)
{
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    text[fread(text, 1, size - 1, f)] = '\0';
    fclose(f);
}

static void roots_are_read_again_when_their_file_has_changed(void **state)
{
    char path[] = "/tmp/test_fetch.ca.XXXXXX", good[8192];
    struct dial_options options = network();
    struct fetch *f = make_fetch(&options);
    struct fetch_request r = request("https://login.test/token");
    (void)state;
    close(mkstemp(path));
    r.ca_file = path;
    read_text(world_ca_file, good, sizeof good);
    put_file(path, good);
    assert_int_equal(ask_by(f, &r).status, 200);
    put_file(path, "this is no certificate\n");
    struct seen s = ask_by(f, &r);
    assert_int_equal(s.status, 0);
    assert_false(s.sent);
    if (!strstr(s.error, path)) /* it names the file */
        fail_msg("%s", s.error);
    put_file(path, good);
    assert_int_equal(ask_by(f, &r).status, 200);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(ask_by(f, &r).status, 0);
    r.ca_file = NULL; /* what one credential trusts is not for another */
    s = ask_by(f, &r);
    if (s.status)
        fail_msg("%d %s", s.status, s.body);
    fetch_free(f);
}

static void a_client_certificate_is_shown(void **state)
{
    struct fetch_request r = request("https://login.test/mtls");
    (void)state;
    assert_int_equal(ask(&r).status, 401);
    r.cert_file = client_cert;
    r.key_file = client_key;
    struct seen s = ask(&r);
    assert_int_equal(s.status, 200);
    assert_string_equal(s.body, "known");
    r.key_file = "/nonexistent.key";
    s = ask(&r);
    assert_int_equal(s.status, 0);
    assert_false(s.sent);
}

static void addresses_inside_are_refused_before_a_byte_is_sent(void **state)
{
    static const struct {
        const char *url;
        bool metadata;
    } rows[] = {
        { "https://10.0.0.1/token", false },          { "https://192.168.1.1:8443/token", false },
        { "https://[fd00::1]/token", false },         { "https://169.254.169.254/token", false },
        { "https://[::ffff:10.0.0.1]/token", false }, { "https://0.0.0.0/token", false },
        { "https://10.0.0.1/token", true },           { "https://169.254.1.1:1/token", false },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct fetch_request r = request(rows[i].url);
        r.metadata = rows[i].metadata;
        struct seen s = ask(&r);
        assert_int_equal(s.status, 0);
        assert_false(s.sent);
        if (!strstr(s.error, "not allowed"))
            fail_msg("%s: %s", rows[i].url, s.error);
    }
}

static void a_private_address_that_is_listed_is_dialled(void **state)
{
    struct address allowed;
    struct dial_options options = { .policy = { &allowed, 1 } };
    struct fetch_request r = request("https://127.0.0.1:1/");
    struct seen s = { 0 };
    struct err e;
    (void)state;
    assert_int_equal(address_parse_network(SLICE("127.0.0.0/8"), &allowed), 0);
    struct fetch *f = make_fetch(&options);
    assert_non_null(fetch_start(f, &r, on_answer, &s, &e));
    while (s.calls == 0)
        ev_run(loop_get(), EVRUN_ONCE);
    assert_null(strstr(s.error, "not allowed")); /* nobody listens there: refused by the kernel, not by the policy */
    fetch_free(f);
}

static void a_metadata_server_may_be_asked_in_the_clear_and_nobody_else(void **state)
{
    static const char *const good[] = { "http://169.254.169.254/token", "http://metadata.google.internal/token" };
    static const char *const bad[] = { "http://10.0.0.1/", "http://login.test/",
                                       "http://metadata.google.internal.login.test/", "http://8.8.8.8/" };
    struct dial_options options = network();
    struct err e;
    (void)state;
    for (size_t i = 0; i < COUNT(good); i++) {
        struct fetch_request r = request(good[i]);
        r.content_type = NULL;
        r.metadata = true;
        assert_int_equal(ask(&r).status, 200);
        r.metadata = false;
        struct fetch *f = make_fetch(&options);
        assert_null(fetch_start(f, &r, on_answer, NULL, &e));
        fetch_free(f);
    }
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct fetch_request r = request(bad[i]);
        r.metadata = true;
        struct fetch *f = make_fetch(&options);
        assert_null(fetch_start(f, &r, on_answer, NULL, &e));
        fetch_free(f);
    }
}

static void a_redirect_is_an_answer_and_not_followed(void **state)
{
    (void)state;
    struct seen s = ask_url("https://login.test/redirect");
    assert_int_equal(s.status, 302);
    assert_string_equal(s.body, "there");
    assert_string_equal(s.redirect, "login.test:443");
}

static void a_user_agent_of_the_configuration_takes_the_place_of_ours(void **state)
{
    struct credential_spec_param fields[] = { { (char *)(uintptr_t)"user-agent",
                                                (char *)(uintptr_t)"app:v1 (by me)" } };
    struct fetch_request r = request("https://login.test/token");
    (void)state;
    r.fields = fields;
    r.field_count = 1;
    struct seen s = ask(&r);
    assert_non_null(strcasestr(s.body, "user-agent: app:v1 (by me)\r\n"));
    assert_null(strstr(s.body, "sidekey/"));
}

static void of_a_redirect_the_host_is_named_and_no_more(void **state)
{
    (void)state;
    struct seen s = ask_url("https://login.test/redirect-away");
    assert_int_equal(s.status, 307);
    assert_string_equal(s.redirect, "elsewhere.test:443");
    s = ask_url("https://login.test/redirect-odd");
    assert_int_equal(s.status, 302);
    assert_string_equal(s.redirect, "");
    s = ask_url("https://login.test/bytes/10");
    assert_string_equal(s.redirect, "");
}

static void a_response_has_4_mib_at_most_and_what_came_before_is_kept(void **state)
{
    char url[64];
    (void)state;
    snprintf(url, sizeof url, "https://login.test/bytes/%d", FETCH_ANSWER_MAX);
    struct seen s = ask_url(url);
    assert_int_equal(s.status, 200);
    assert_int_equal(s.body_len, FETCH_ANSWER_MAX);
    assert_false(s.cut);
    snprintf(url, sizeof url, "https://login.test/bytes/%d", FETCH_ANSWER_MAX + 1);
    for (int i = 0; i < 2; i++) {
        s = ask_url(i ? "https://login.test/bytes/200000000" : url);
        assert_int_equal(s.status, 200);
        assert_int_equal(s.body_len, FETCH_ANSWER_MAX);
        assert_true(s.cut && s.capped && s.sent);
        assert_string_equal(s.error, "the response is larger than 4 MiB");
    }
}

/* With more time, again and again, until the request itself has been sent in time: the deadline counts for the
 * handshake too, which a busy machine makes slow. */
static struct seen ask_in_time(struct fetch_request *r, bool to_be_sent)
{
    struct seen s = ask(r);
    for (int tries = 0; to_be_sent && !s.sent && tries < 6; tries++) {
        r->timeout_ms *= 2;
        s = ask(r);
    }
    return s;
}

static void a_slow_answer_ends_at_the_deadline(void **state)
{
    static const struct {
        const char *url;
        bool sent;
        int status;
    } rows[] = {
        { "https://login.test/drip-body", true, 200 }, /* what came of it is told */
        { "https://login.test/drip-head", true, 0 },
        { "https://login.test/silent", true, 0 },
        { "https://quiet.test/", false, 0 }, /* the TCP connection is there, the TLS server is not */
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct fetch_request r = request(rows[i].url);
        r.timeout_ms = 400;
        struct seen s = ask_in_time(&r, rows[i].sent);
        if (s.status != rows[i].status || !s.cut || s.sent != rows[i].sent || s.took_ms < r.timeout_ms - 50
            || s.took_ms > r.timeout_ms + PATIENCE_MS)
            fail_msg("%s: status %d, sent %d, %d ms, %s", rows[i].url, s.status, s.sent, (int)s.took_ms, s.error);
    }
}

static void an_answer_that_came_while_we_were_stopped_is_read(void **state)
{
    static const struct {
        const char *what;
        int status;
        bool cut;
    } rows[] = { { "whole", 200, false }, { "half", 200, true }, { "none", 0, true } };
    char url[64];
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        snprintf(url, sizeof url, "https://login.test/stop/%d/%s", (int)getpid(), rows[i].what);
        struct fetch_request r = request(url);
        struct seen s = { 0 };
        /* until we were stopped between the request and its deadline; on a busy machine the deadline may come first */
        for (int tries = 0; tries < 12 && !(s.sent && s.took_ms >= STOPPED_MS); tries++) {
            r.timeout_ms = STOPPED_MS / (tries < 2 ? 8 >> tries : 2);
            s = ask(&r);
        }
        if (s.status != rows[i].status || s.cut != rows[i].cut || !s.sent || s.took_ms < STOPPED_MS
            || s.took_ms > STOPPED_MS + PATIENCE_MS)
            fail_msg("%s: status %d, sent %d, %d ms, %s", rows[i].what, s.status, s.sent, (int)s.took_ms, s.error);
    }
}

static void half_a_response_is_told_as_that(void **state)
{
    (void)state;
    struct seen s = ask_url("https://login.test/cut");
    assert_int_equal(s.status, 200);
    assert_true(s.sent && s.cut && s.body_len > 0);
    assert_false(s.capped);
}

static void a_head_that_other_clients_refuse_is_read(void **state)
{
    static const char *const urls[] = { "https://login.test/no-colon", "https://login.test/no-length" };
    (void)state;
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        struct seen s = ask_url(urls[i]);
        assert_int_equal(s.status, 200);
        assert_true(s.sent && !s.cut && !s.capped);
        assert_string_equal(s.body, "{}");
    }
    assert_int_equal(ask_url("https://login.test/no-status").status, 0); /* a connection that ended is no response */
}

static void what_is_no_head_is_read_or_counts_as_a_response(void **state)
{
    static const struct {
        const char *bytes; /* escaped as a URL's path is */
        int status;
        bool cut;
        const char *body;
    } rows[] = {
        { "%7B%22a%22:1%7D", 200, false, "{\"a\":1}" }, /* HTTP/0.9 */
        { "%0D%0A%5B%5D", 200, false, "[]" },
        { "%EF%BB%BF%7B%7D", 200, false, "\xef\xbb\xbf{}" },
        { "ICY%20200%20OK%0D%0Ax:y%0D%0A%0D%0A%7B%7D", 200, false, "{}" },
        { "%0D%0A%0D%0AHTTP/1.1%20400%20No%0D%0A%0D%0Ano", 400, false, "no" },
        { "%20HTTP/1.1%20200%20OK%0ATransfer-Encoding:chunked%0A%0A2%0D%0A%7B%7D%0D%0A0%0D%0A%0D%0A", 200, false,
          "{}" },
        { "HTTP/1.2%20200%20OK%0D%0A%0D%0A%7B%7D", 200, false, "{}" },
        { "HTTP/3.0%20200%20OK%0D%0A%0D%0A%7B%7D", 200, false, "{}" },
        { "HTTP/1.1%202000%20OK%0D%0A%0D%0A%7B%7D", 200, false, "{}" },
        { "HTTP/1.1%20abc%0D%0A%0D%0A%7B%7D", 200, false, "{}" },
        { "HTTP/1.1%20100%20Go%0D%0A%0D%0AHTTP/1.2%20200%20OK%0D%0A%0D%0A%7B%7D", 200, false, "{}" },
        { "HTTP/1.1%20200%20OK%0Da:b%0D%0D%7B%7D", 200, false, "{}" },
        { "HTTP/1.1%20304%20Same%0D%0A%0D%0A%7B%7D", 304, false, "{}" },
        { "HTTP/1.1%20204%20Empty%0D%0A%0D%0A%7B%7D", 204, false, "{}" },
        { "HTTP/1.1%20200%20OK%0D%0AContent-Length:0%0D%0A%0D%0A%7B%7D", 200, false, "{}" },
        { "HTTP/1.1%20200%20OK%0D%0AContent-Length:9%0D%0A%0D%0A%7B%7D", 200, true, "{}" },
        { "SSH-2.0-x%0D%0A", 0, true, "" }, /* other protocols, and heads without an end, are no response */
        { "220%20mail.test%0D%0A", 0, true, "" },
        { "ICY%20200%20OK%0D%0Ax:y%0D%0A", 0, true, "" },
        { "ICY%20100%20OK%0D%0A%0D%0A", 0, true, "" },
        { "HTTP/1.1%20100%20Go%0D%0A%0D%0A", 0, true, "" },
    };
    char url[256];
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        snprintf(url, sizeof url, "https://login.test/as-it-is/%s", rows[i].bytes);
        struct seen s = ask_url(url);
        if (s.status != rows[i].status || s.cut != rows[i].cut || !s.sent || strcmp(s.body, rows[i].body) != 0
            || s.capped || (s.cut && !*s.error))
            fail_msg("%s: status %d, cut %d, capped %d, sent %d, body \"%s\", error \"%s\"", rows[i].bytes, s.status,
                     s.cut, s.capped, s.sent, s.body, s.error);
    }
}

static void a_proxy_in_the_environment_is_not_for_us(void **state)
{
    (void)state;
    setenv("https_proxy", "http://127.0.0.1:1", 1);
    setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
    int status = ask_url("https://login.test/token").status;
    unsetenv("https_proxy");
    unsetenv("ALL_PROXY");
    assert_int_equal(status, 200);
}

static void a_cancelled_request_is_never_heard_of_again(void **state)
{
    struct dial_options options = network();
    struct fetch *f = make_fetch(&options);
    struct fetch_request r = request("https://login.test/silent"), next = request("https://login.test/token");
    struct seen first = { 0 }, second = { 0 };
    struct err e;
    (void)state;
    struct fetch_job *job = fetch_start(f, &r, on_answer, &first, &e);
    assert_non_null(job);
    for (int i = 0; i < 5; i++)
        ev_run(loop_get(), EVRUN_NOWAIT);
    fetch_cancel(job);
    assert_non_null(fetch_start(f, &next, on_answer, &second, &e));
    while (second.calls == 0)
        ev_run(loop_get(), EVRUN_ONCE);
    assert_int_equal(second.status, 200);
    assert_int_equal(first.calls, 0);
    fetch_free(f);
}

static void urls_that_would_leak_are_refused_at_once(void **state)
{
    static const char *const urls[] = { "http://login.test/",
                                        "https://u:p@login.test/",
                                        "https://u@login.test/",
                                        "ftp://login.test/",
                                        "file:///etc/passwd",
                                        "login.test",
                                        "" };
    struct dial_options options = network();
    struct fetch *f = make_fetch(&options);
    char host[64];
    (void)state;
    for (size_t i = 0; i < COUNT(urls); i++) {
        struct fetch_request r = request(urls[i]);
        struct err e = { "" };
        if (fetch_start(f, &r, on_answer, NULL, &e))
            fail_msg("%s was taken", urls[i]);
        assert_non_null(strstr(e.text, "https"));
        assert_int_not_equal(fetch_url_host(urls[i], host, sizeof host), 0);
    }
    assert_int_equal(fetch_url_host("https://LOGIN.test/x", host, sizeof host), 0);
    assert_string_equal(host, "login.test:443");
    fetch_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_post_over_verified_tls_arrives_whole),
        cmocka_unit_test(without_a_content_type_it_is_a_get),
        cmocka_unit_test(a_certificate_that_does_not_verify_gets_nothing),
        cmocka_unit_test(roots_are_read_again_when_their_file_has_changed),
        cmocka_unit_test(a_client_certificate_is_shown),
        cmocka_unit_test(addresses_inside_are_refused_before_a_byte_is_sent),
        cmocka_unit_test(a_private_address_that_is_listed_is_dialled),
        cmocka_unit_test(a_metadata_server_may_be_asked_in_the_clear_and_nobody_else),
        cmocka_unit_test(a_redirect_is_an_answer_and_not_followed),
        cmocka_unit_test(of_a_redirect_the_host_is_named_and_no_more),
        cmocka_unit_test(a_user_agent_of_the_configuration_takes_the_place_of_ours),
        cmocka_unit_test(a_response_has_4_mib_at_most_and_what_came_before_is_kept),
        cmocka_unit_test(a_slow_answer_ends_at_the_deadline),
        cmocka_unit_test(an_answer_that_came_while_we_were_stopped_is_read),
        cmocka_unit_test(half_a_response_is_told_as_that),
        cmocka_unit_test(a_head_that_other_clients_refuse_is_read),
        cmocka_unit_test(what_is_no_head_is_read_or_counts_as_a_response),
        cmocka_unit_test(a_proxy_in_the_environment_is_not_for_us),
        cmocka_unit_test(a_cancelled_request_is_never_heard_of_again),
        cmocka_unit_test(urls_that_would_leak_are_refused_at_once),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
