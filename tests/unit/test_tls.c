/* links: tests/fakes/tls_world.c */
#include "tests/fakes/tls_world.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/stream_private.h"
#include "net/tls/tls_private.h"

#if OPENSSL_VERSION_NUMBER >= 0x30400000L
#define set_session_time(session, t) SSL_SESSION_set_time_ex(session, t)
#else
#define set_session_time(session, t) SSL_SESSION_set_time(session, t)
#endif

#define HOST WORLD_HOST

static struct end server, client;

static bool both_secured(void)
{
    return server.events[STREAM_SECURED] && client.events[STREAM_SECURED];
}

static bool any_failed(void)
{
    return server.events[STREAM_FAILED] && client.events[STREAM_FAILED];
}

static int part(void **state)
{
    (void)state;
    end_done(&server);
    end_done(&client);
    return 0;
}

/* Streams that meet under given contexts; each stops where it stops. */
static void meet(struct tls_leaf *with, struct tls_client *by, const char *host, const char *expected, bool ip,
                 const char *key)
{
    part(NULL);
    ends_meet(&server, &client);
    assert_int_equal(stream_accept_tls(server.s, world_server, with, host, ip, slice_of(NULL, 0)), 0);
    assert_int_equal(stream_connect_tls(client.s, by, expected, ip, key), 0);
    RUN_UNTIL(both_secured() || any_failed());
    turns(3);
}

static void a_handshake_completes_and_bytes_go_both_ways(void **state)
{
    (void)state;
    ends_meet(&server, &client);
    ends_secure(&server, &client, world_host_leaf, HOST, HOST, false);
    end_write(&client, "ping"); /* before the handshake: waits for it */
    end_write(&server, "pong");
    RUN_UNTIL(both_secured() && server.in_len && client.in_len);
    assert_string_equal(end_text(&server), "ping");
    assert_string_equal(end_text(&client), "pong");
}

static void contexts_may_be_freed_while_streams_use_them(void **state)
{
    (void)state;
    struct tls_client *by = world_client_for(world_ca_file);
    part(NULL);
    ends_meet(&server, &client);
    struct tls_leaf *own = tls_leaf_ref(world_host_leaf);
    assert_int_equal(stream_accept_tls(server.s, world_server, own, HOST, false, slice_of(NULL, 0)), 0);
    assert_int_equal(stream_connect_tls(client.s, by, HOST, false, "k"), 0);
    tls_client_free(by);
    tls_leaf_free(own);
    RUN_UNTIL(both_secured());
    end_write(&server, "still works"); /* and the ticket finds its cache */
    turns(4);
    assert_string_equal(end_text(&client), "still works");
}

/* How many keys of the exchange OpenSSL has at this end; each must be empty: a key is its provider's data. */
static int empty_keys(const struct end *e)
{
    EVP_PKEY *keys[2] = { NULL, NULL };
    int found = 0;
    (void)SSL_get_tmp_key(e->s->tls->ssl, &keys[0]);
    (void)SSL_get_peer_tmp_key(e->s->tls->ssl, &keys[1]);
    for (int i = 0; i < 2; i++) {
        assert_true(!keys[i] || EVP_PKEY_get0_provider(keys[i]) == NULL);
        found += keys[i] != NULL;
        EVP_PKEY_free(keys[i]);
    }
    return found;
}

static void the_keys_of_the_exchange_are_forgotten_after_it(void **state)
{
    (void)state;
    const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };
    /* and the default: hybrid where the library has one */
    const char *groups[] = { "X25519:P-256", "P-256", "ffdhe2048" };
    for (size_t i = 0; i < 8; i++) {
        SSL_CTX_set_max_proto_version(world_server->ctx, versions[i % 2]);
        struct tls_client *by = world_client_for(world_ca_file);
        if (i / 2 < 3 && !(i / 2 == 2 && i % 2 == 0)) /* 1.2 has no such group */
            assert_int_equal(SSL_CTX_set1_groups_list(by->ctx, groups[i / 2]), 1);
        meet(world_host_leaf, by, HOST, HOST, false, "exchange");
        if (!both_secured())
            fail_msg("row %zu: %s", i, stream_error(client.s));
        assert_true(empty_keys(&client) >= 1);
        (void)empty_keys(&server); /* 1.2 has dropped them already */
        end_write(&client, "ping");
        RUN_UNTIL(server.in_len);
        tls_client_free(by);
    }
    SSL_CTX_set_max_proto_version(world_server->ctx, 0);
}

/* --- verification upstream --- */

static void a_certificate_is_judged_by_chain_time_and_name(void **state)
{
    (void)state;
    const struct cert stranger = cert_make((struct cert_spec){ .cn = "Stranger" });
    const struct {
        struct cert_spec spec;
        const char *expected;
        bool ip;
        const char *why; /* NULL: accepted */
    } table[] = {
        { { .cn = "", .san = "DNS:" HOST }, HOST, false, NULL },
        { { .cn = "", .san = "DNS:*.example.test" }, HOST, false, NULL },
        { { .cn = "", .san = "IP:127.0.0.1" }, "127.0.0.1", true, NULL },
        { { .cn = "", .san = "IP:::1" }, "::1", true, NULL },
        { { .cn = "x", .san = "DNS:other.test" },
          HOST,
          false,
          "ostname mismatch (depth 0, subject CN=x, issuer CN=Test Authority) for " HOST },
        { { .cn = "x", .san = "DNS:other.test,DNS:b.test" }, HOST, false, ": it is for DNS:other.test, DNS:b.test" },
        { { .cn = HOST, .san = "DNS:other.test" }, HOST, false, "mismatch" }, /* the CN does not count */
        { { .cn = HOST, .san = "email:a@b.test" }, HOST, false, "mismatch" },
        { { .cn = "", .san = "DNS:a*.example.test" }, HOST, false, "mismatch" }, /* partial wildcard */
        { { .cn = "", .san = "DNS:*.test" }, HOST, false, "mismatch" },
        { { .cn = "", .san = "DNS:*.example.test" }, "a_b.example.test", false, NULL }, /* an underscore is a letter */
        { { .cn = "", .san = "DNS:*.EXAMPLE.test" }, "_.example.test", false, NULL },
        { { .cn = "", .san = "DNS:a_b.example.test" }, "a_b.example.test", false, NULL },
        { { .cn = "", .san = "DNS:*.test" }, "a_b.test", false, "mismatch" },
        { { .cn = "", .san = "DNS:*.example.test" }, "a_b.c.example.test", false, "mismatch" },
        { { .cn = "", .san = "DNS:*.example.test" }, "a.b_c.example.test", false, "mismatch" },
        { { .cn = "", .san = "DNS:a*.example.test" }, "a_b.example.test", false, "mismatch" },
        { { .cn = "", .san = "DNS:*_b.example.test" }, "a_b.example.test", false, "mismatch" },
        { { .cn = "", .san = "DNS:*.other.test" }, "a_b.example.test", false, "mismatch" },
        { { .cn = "", .san = "email:*.example.test" }, "a_b.example.test", false, "mismatch" },
        { { .cn = "", .san = "DNS:127.0.0.1" }, "127.0.0.1", true, "IP address mismatch" },
        { { .cn = "", .san = "IP:127.0.0.2" }, "127.0.0.1", true, "IP address mismatch" },
        { { .cn = "old", .san = "DNS:" HOST, .from_s = -200, .until_s = -100 },
          HOST,
          false,
          "certificate has expired (depth 0, subject CN=old, issuer CN=Test Authority) for " HOST },
        { { .cn = "new", .san = "DNS:" HOST, .from_s = 100, .until_s = 200 }, HOST, false, "not yet valid" },
        { { .cn = "y", .san = "DNS:" HOST, .by = &stranger },
          HOST,
          false,
          "unable to get local issuer certificate (depth 0, subject CN=y, issuer CN=Stranger)" },
        { { .cn = "line\nbreak", .san = "DNS:other.test" }, HOST, false, "subject CN=line\\0Abreak" },
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct tls_leaf *bad = world_leaf(table[i].spec);
        char key[8]; /* its own, lest it resume an earlier row's session */
        snprintf(key, sizeof key, "row%zu", i);
        meet(bad, world_client, table[i].expected, table[i].expected, table[i].ip, key);
        tls_leaf_free(bad);
        if (!table[i].why) {
            assert_true(both_secured());
            continue;
        }
        assert_false(client.events[STREAM_SECURED]);
        assert_true(stream_verify_failed(client.s));
        assert_string_equal(stream_error_label(client.s), "tls_certificate_error");
        if (!strstr(stream_error(client.s), table[i].why))
            fail_msg("\"%s\" does not say \"%s\"", stream_error(client.s), table[i].why);
        assert_string_equal(stream_error_label(server.s), "tls_alert_received"); /* the other side hears of it */
        assert_false(stream_verify_failed(server.s));
    }
    cert_done((struct cert *)(uintptr_t)&stranger);
}

static void a_chain_with_an_intermediate_is_followed_and_an_anchor_may_be_one(void **state)
{
    (void)state;
    struct cert middle = cert_make((struct cert_spec){ .cn = "Middle", .by = &world_ca });
    char *file = cert_file(middle.x509, NULL);
    struct tls_leaf *below = world_leaf((struct cert_spec){ .cn = "", .san = "DNS:" HOST, .by = &middle });
    struct tls_client *by = world_client_for(file);
    meet(below, world_client, HOST, HOST, false, "chain");
    assert_true(stream_verify_failed(client.s)); /* the server did not send it */
    meet(below, by, HOST, HOST, false, "chain");
    assert_true(both_secured());
    tls_client_free(by);
    tls_leaf_free(below);
    unlink(file);
    free(file);
    cert_done(&middle);
}

static void system_roots_are_honoured_where_the_environment_says(void **state)
{
    (void)state;
    struct cert unused = cert_make((struct cert_spec){ .cn = "Unused" });
    char *other_file = cert_file(unused.x509, NULL);
    setenv("SSL_CERT_DIR", "/nonexistent", 1);
    setenv("SSL_CERT_FILE", world_ca_file, 1);
    struct tls_client *by = world_client_for(other_file);
    meet(world_host_leaf, by, HOST, HOST, false, "env");
    assert_true(both_secured());
    tls_client_free(by);

    setenv("SSL_CERT_FILE", other_file, 1);
    by = world_client_for(NULL);
    meet(world_host_leaf, by, HOST, HOST, false, "env");
    assert_true(stream_verify_failed(client.s));
    tls_client_free(by);
    unsetenv("SSL_CERT_FILE");
    unsetenv("SSL_CERT_DIR");
    unlink(other_file);
    free(other_file);
    cert_done(&unused);
}

static void roots_are_found_in_a_hashed_directory(void **state)
{
    (void)state;
    char dir[] = "/tmp/sidekey-test-XXXXXX", path[64];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/%08lx.0", dir,
             X509_NAME_hash_ex(X509_get_subject_name(world_ca.x509), NULL, NULL, NULL));
    assert_int_equal(symlink(world_ca_file, path), 0);
    setenv("SSL_CERT_DIR", dir, 1);
    setenv("SSL_CERT_FILE", "/nonexistent", 1);
    struct tls_client *by = world_client_for(NULL);
    unsetenv("SSL_CERT_DIR");
    unsetenv("SSL_CERT_FILE");
    meet(world_host_leaf, by, HOST, HOST, false, "hashed");
    assert_true(both_secured());
    tls_client_free(by);
    unlink(path);
    rmdir(dir);
}

static void files_that_cannot_be_used_are_named(void **state)
{
    (void)state;
    struct cert own = cert_make((struct cert_spec){ .cn = "me", .san = "DNS:me.test", .by = &world_ca });
    char *cert = cert_file(own.x509, NULL), *key = cert_file(NULL, own.key), *other = cert_file(NULL, world_ca.key);
    const struct {
        struct tls_client_options options;
        const char *words;
    } table[] = {
        { { .ca_file = "/nonexistent/ca.pem" }, "/nonexistent/ca.pem" },
        { { .ca_file = key }, key },
        { { .cert_file = "/nonexistent/cert.pem", .key_file = key }, "/nonexistent/cert.pem" },
        { { .cert_file = cert, .key_file = "/nonexistent/key.pem" }, "/nonexistent/key.pem" },
        { { .cert_file = cert, .key_file = other }, other },
        { { .cert_file = cert }, cert }, /* no key in it */
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct err e = { "" };
        assert_null(tls_client_new(&table[i].options, &e));
        if (!strstr(e.text, table[i].words))
            fail_msg("%zu: \"%s\" does not name %s", i, e.text, table[i].words);
        assert_int_equal(ERR_peek_error(), 0);
    }
    char *files[] = { cert, key, other };
    for (size_t i = 0; i < 3; i++) {
        unlink(files[i]);
        free(files[i]);
    }
    cert_done(&own);
}

/* A server of plain OpenSSL, for what ours never does. */
struct stranger {
    struct cert cert;
    SSL_CTX *ctx;
    SSL *ssl;
    int fd;
};

static void stranger_up(struct stranger *x)
{
    *x = (struct stranger){ .cert = cert_make((struct cert_spec){ .cn = HOST, .san = "DNS:" HOST, .by = &world_ca }) };
    x->ctx = SSL_CTX_new(TLS_server_method());
    SSL_CTX_use_certificate(x->ctx, x->cert.x509);
    SSL_CTX_use_PrivateKey(x->ctx, x->cert.key);
}

static bool stranger_meets(struct stranger *x, struct tls_client *by, const char *key)
{
    end_done(&client);
    end_meet_fd(&client, &x->fd);
    x->ssl = raw_peer(x->fd, true, x->ctx);
    assert_int_equal(stream_connect_tls(client.s, by, HOST, false, key), 0);
    bool done = raw_handshake(x->ssl);
    turns(4);
    return done;
}

static void stranger_parts(struct stranger *x)
{
    SSL_shutdown(x->ssl);
    SSL_free(x->ssl);
    close(x->fd);
    ERR_clear_error();
}

static void stranger_down(struct stranger *x)
{
    SSL_CTX_free(x->ctx);
    cert_done(&x->cert);
}

static void a_client_certificate_is_shown_to_those_who_ask(void **state)
{
    (void)state;
    struct cert own = cert_make((struct cert_spec){ .cn = "me", .san = "DNS:me.test", .by = &world_ca });
    char *file = cert_file(own.x509, own.key); /* both in one */
    struct tls_client *by =
        tls_client_new(&(struct tls_client_options){ .ca_file = world_ca_file, .cert_file = file }, NULL);
    assert_non_null(by);
    struct stranger x;
    stranger_up(&x);
    X509_STORE_add_cert(SSL_CTX_get_cert_store(x.ctx), world_ca.x509);
    SSL_CTX_set_verify(x.ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    assert_true(stranger_meets(&x, by, "mtls"));
    stranger_parts(&x);
    tls_client_free(by);
    stranger_down(&x);
    unlink(file);
    free(file);
    cert_done(&own);
}

static void old_versions_are_refused_on_both_legs(void **state)
{
    (void)state;
    struct stranger x;
    stranger_up(&x);
    SSL_CTX_set_security_level(x.ctx, 0);
    SSL_CTX_set_min_proto_version(x.ctx, TLS1_VERSION);
    SSL_CTX_set_max_proto_version(x.ctx, TLS1_1_VERSION);
    assert_false(stranger_meets(&x, world_client, "old"));
    assert_int_equal(client.events[STREAM_FAILED], 1);
    stranger_parts(&x);
    stranger_down(&x);

    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_security_level(ctx, 0);
    SSL_CTX_set_min_proto_version(ctx, TLS1_VERSION);
    SSL_CTX_set_max_proto_version(ctx, TLS1_1_VERSION);
    int fd;
    end_meet_fd(&server, &fd);
    assert_int_equal(stream_accept_tls(server.s, world_server, world_host_leaf, HOST, true, slice_of(NULL, 0)), 0);
    SSL *old = raw_peer(fd, false, ctx);
    assert_false(raw_handshake(old));
    assert_int_equal(ERR_GET_REASON(ERR_peek_error()), SSL_AD_REASON_OFFSET + SSL_AD_PROTOCOL_VERSION);
    ERR_clear_error();
    SSL_free(old);
    SSL_CTX_free(ctx);
    close(fd);
}

/* --- the client leg: what clients say in their hello --- */

struct hello {
    const char *sni, *alpn; /* alpn in wire format */
    int max_version;
    SSL_SESSION *resume;
};

static SSL_CTX *client_ctx;
static SSL *peer;
static int peer_fd;

static bool say_hello(struct hello h, const char *host, bool sni_optional)
{
    part(NULL);
    end_meet_fd(&server, &peer_fd);
    assert_int_equal(stream_accept_tls(server.s, world_server, world_host_leaf, host, sni_optional, slice_of(NULL, 0)),
                     0);
    if (!client_ctx)
        client_ctx = SSL_CTX_new(TLS_client_method());
    peer = raw_peer(peer_fd, false, client_ctx);
    if (h.max_version)
        SSL_set_max_proto_version(peer, h.max_version);
    if (h.sni)
        SSL_set_tlsext_host_name(peer, h.sni);
    if (h.alpn)
        SSL_set_alpn_protos(peer, (const unsigned char *)h.alpn, (unsigned)strlen(h.alpn));
    if (h.resume)
        SSL_set_session(peer, h.resume);
    bool done = raw_handshake(peer);
    turns(4);
    return done;
}

static int peer_alert(void)
{
    int reason = ERR_GET_REASON(ERR_peek_error());
    ERR_clear_error();
    return reason - SSL_AD_REASON_OFFSET;
}

static void hang_up(void)
{
    SSL_set_shutdown(peer, SSL_SENT_SHUTDOWN); /* or OpenSSL would spoil the session */
    SSL_free(peer);
    close(peer_fd);
    ERR_clear_error();
}

static void the_server_name_must_be_the_host_that_was_connected_to(void **state)
{
    (void)state;
    const struct {
        const char *sni;
        bool optional, accepted;
    } table[] = {
        { HOST, false, true },
        { HOST, true, true },
        { "API.Example.TEST", false, true },
        { HOST ".", false, true },
        { "other.test", false, false },
        { "other.test", true, false },
        { "sub." HOST, false, false },
        { "api.example.tes", false, false },
        { NULL, true, true },
        { NULL, false, false },
    };
    const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };
    for (size_t i = 0; i < 2 * sizeof table / sizeof table[0]; i++) {
        bool done = say_hello((struct hello){ .sni = table[i / 2].sni, .max_version = versions[i % 2] }, HOST,
                              table[i / 2].optional);
        assert_int_equal(done, table[i / 2].accepted);
        if (!done) {
            assert_int_equal(peer_alert(), SSL_AD_UNRECOGNIZED_NAME);
            assert_int_equal(server.events[STREAM_FAILED], 1);
            assert_non_null(strstr(stream_error(server.s), HOST));
        }
        hang_up();
    }
}

static void the_protocol_is_http_1_1_or_none(void **state)
{
    (void)state;
    const struct {
        const char *offer, *chosen;
    } table[] = {
        { NULL, "" },
        { "\x08http/1.1", "http/1.1" },
        { "\x02h2\x08http/1.1", "http/1.1" },
        { "\x08http/1.0\x08http/1.1", "http/1.1" },
        { "\x02h2", "" },
        { "\x08http/1.2", "" },
        { "\x09http/1.1x", "" },
        { "\x08HTTP/1.1", "" },
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        const unsigned char *name = NULL;
        unsigned len = 0;
        assert_true(say_hello((struct hello){ .sni = HOST, .alpn = table[i].offer }, HOST, false));
        SSL_get0_alpn_selected(peer, &name, &len);
        assert_true(slice_eq(slice_of(name, len), slice_str(table[i].chosen)));
        hang_up();
    }
}

static struct slice offered;
static int note_offer(SSL *ssl, const unsigned char **ret, unsigned char *ret_len, const unsigned char *offer,
                      unsigned len, void *arg)
{
    static char copy[256];
    (void)ssl;
    (void)ret;
    (void)ret_len;
    (void)arg;
    memcpy(copy, offer, len);
    offered = slice_of(copy, len);
    return SSL_TLSEXT_ERR_NOACK;
}

static void upstream_is_told_the_host_and_offered_http_1_1_alone(void **state)
{
    (void)state;
    struct stranger x;
    stranger_up(&x);
    SSL_CTX_set_alpn_select_cb(x.ctx, note_offer, NULL);
    assert_true(stranger_meets(&x, world_client, "alpn"));
    assert_true(slice_eq(offered, SLICE("\x08http/1.1")));
    assert_string_equal(SSL_get_servername(x.ssl, TLSEXT_NAMETYPE_host_name), HOST);
    stranger_parts(&x);
    stranger_down(&x);
}

static void an_ip_literal_is_not_sent_as_a_server_name(void **state)
{
    (void)state;
    struct tls_leaf *by_ip = world_leaf((struct cert_spec){ .cn = "", .san = "IP:127.0.0.1" });
    meet(by_ip, world_client, "not.the.literal", "127.0.0.1", true, "ip"); /* any SNI at all would be refused here */
    assert_true(both_secured());
    tls_leaf_free(by_ip);
}

/* --- the first bytes --- */

static size_t capture_hello(SSL *from, unsigned char *dst, size_t size)
{
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    SSL_set_bio(from, in, out);
    SSL_do_handshake(from);
    int n = BIO_read(out, dst, (int)size);
    assert_true(n > 100);
    return (size_t)n;
}

static void a_hello_may_come_in_any_pieces(void **state)
{
    (void)state;
    const struct {
        size_t already, step; /* bytes read before; bytes per segment after that */
    } table[] = { { 0, 1 }, { 1, 1 }, { 5, 7 }, { 100, 50 }, { 1000, 1 } /* 1000: all */ };
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        unsigned char hello[4096];
        part(NULL);
        end_meet_fd(&server, &peer_fd);
        peer = raw_peer(peer_fd, false, ctx);
        SSL_set_tlsext_host_name(peer, HOST);
        size_t len = capture_hello(peer, hello, sizeof hello);
        size_t at = table[i].already < len ? table[i].already : len;
        assert_int_equal(stream_accept_tls(server.s, world_server, world_host_leaf, HOST, false, slice_of(hello, at)),
                         0);
        memset(hello, 0, at); /* it was copied */
        while (at < len) {
            size_t n = table[i].step < len - at ? table[i].step : len - at;
            assert_int_equal(write(peer_fd, hello + at, n), n);
            at += n;
            turns(1);
            assert_int_equal(server.events[STREAM_FAILED], 0);
        }
        turns(2);
        assert_int_equal(SSL_set_fd(peer, peer_fd), 1);
        assert_true(raw_handshake(peer));
        turns(2);
        assert_int_equal(server.events[STREAM_SECURED], 1);
        hang_up();
    }
    SSL_CTX_free(ctx);
}

static void a_request_that_comes_with_the_last_flight_is_seen(void **state)
{
    (void)state;
    part(NULL);
    end_meet_fd(&server, &peer_fd);
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    assert_int_equal(stream_accept_tls(server.s, world_server, world_host_leaf, HOST, false, slice_of(NULL, 0)), 0);
    peer = raw_peer(peer_fd, false, ctx);
    SSL_set_tlsext_host_name(peer, HOST);
    assert_true(raw_handshake(peer)); /* the loop has not turned since: Finished and what follows arrive together */
    assert_int_equal(SSL_write(peer, "GET /", 5), 5);
    assert_int_equal(server.events[STREAM_SECURED], 0);
    turns(3);
    assert_string_equal(end_text(&server), "GET /");
    hang_up();
    SSL_CTX_free(ctx);
}

/* --- resumption --- */

static SSL_SESSION *kept;
static int keep_session(SSL *ssl, SSL_SESSION *session)
{
    (void)ssl;
    SSL_SESSION_free(kept);
    kept = session;
    return 1;
}

static void the_client_leg_resumes_by_ticket_at_any_worker_for_the_same_host_only(void **state)
{
    (void)state;
    const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };
    char byte;
    for (size_t v = 0; v < 2; v++) {
        kept = NULL;
        say_hello((struct hello){ .sni = HOST, .max_version = versions[v] }, HOST, false);
        hang_up();
        SSL_CTX_set_session_cache_mode(client_ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(client_ctx, keep_session);
        assert_true(say_hello((struct hello){ .sni = HOST, .max_version = versions[v] }, HOST, false));
        SSL_read(peer, &byte, 1); /* takes the ticket in */
        assert_non_null(kept);
        assert_false(SSL_session_reused(peer));
        hang_up();

        char ticket_key[80]; /* another worker: its own leaf key, the same ticket key */
        struct tls_server *first = world_server;
        struct tls_leaf *first_leaf = world_host_leaf;
        memset(ticket_key, 7, sizeof ticket_key);
        world_server = tls_server_new(slice_of(ticket_key, sizeof ticket_key), NULL);
        world_host_leaf = world_leaf((struct cert_spec){ .cn = HOST, .san = "DNS:" HOST });
        SSL_SESSION *mine = SSL_SESSION_dup(kept);
        assert_true(say_hello((struct hello){ .sni = HOST, .max_version = versions[v], .resume = mine }, HOST, false));
        assert_true(SSL_session_reused(peer));
        hang_up();
        SSL_SESSION_free(mine);

        mine = SSL_SESSION_dup(kept); /* for another host it is just a stranger's ticket */
        assert_true(say_hello((struct hello){ .sni = "other.test", .max_version = versions[v], .resume = mine },
                              "other.test", false));
        assert_false(SSL_session_reused(peer));
        hang_up();
        SSL_SESSION_free(mine);
        SSL_SESSION_free(kept);
        kept = NULL;
        SSL_CTX_sess_set_new_cb(client_ctx, NULL);
        tls_leaf_free(world_host_leaf);
        tls_server_free(world_server);
        world_server = first;
        world_host_leaf = first_leaf;
    }
}

static bool resumes(struct stranger *x, struct tls_client *by, const char *key)
{
    assert_true(stranger_meets(x, by, key));
    bool resumed = SSL_session_reused(x->ssl) == 1;
    stranger_parts(x);
    turns(3);
    return resumed;
}

static void the_upstream_leg_resumes_per_key_and_context(void **state)
{
    (void)state;
    const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };
    for (size_t v = 0; v < 2; v++) {
        struct stranger x;
        stranger_up(&x);
        SSL_CTX_set_max_proto_version(x.ctx, versions[v]);
        struct tls_client *one = world_client_for(world_ca_file), *two = world_client_for(world_ca_file);
        assert_false(resumes(&x, one, "a"));
        assert_true(resumes(&x, one, "a"));
        assert_true(resumes(&x, one, "a"));
        assert_false(resumes(&x, one, "b"));
        assert_false(resumes(&x, two, "a"));
        tls_client_free(one);
        tls_client_free(two);
        stranger_down(&x);
    }
}

static void a_session_survives_our_own_abort(void **state)
{
    (void)state;
    struct stranger x;
    stranger_up(&x);
    SSL_CTX_set_num_tickets(x.ctx, 1); /* no second one to fall back on */
    struct tls_client *by = world_client_for(world_ca_file);
    assert_true(stranger_meets(&x, by, "abort"));
    stream_abort(client.s);
    client.s = NULL;
    stranger_parts(&x);
    assert_true(resumes(&x, by, "abort"));
    tls_client_free(by);
    stranger_down(&x);
}

static void a_session_survives_a_server_that_hangs_up_without_a_word(void **state)
{
    (void)state;
    struct stranger x;
    stranger_up(&x);
    struct tls_client *by = world_client_for(world_ca_file);
    assert_true(stranger_meets(&x, by, "rude"));
    SSL_free(x.ssl);
    close(x.fd);
    turns(3);
    assert_int_equal(client.events[STREAM_FAILED], 1);
    assert_true(resumes(&x, by, "rude"));
    tls_client_free(by);
    stranger_down(&x);
}

static SSL_SESSION *session_like(SSL_SESSION *like, int version)
{
    SSL_SESSION *s = SSL_SESSION_dup(like);
    SSL_SESSION_set_protocol_version(s, version);
    return s;
}

static void the_session_cache_is_bounded_and_gives_tls_1_3_sessions_once(void **state)
{
    (void)state;
    struct stranger x;
    stranger_up(&x);
    SSL_CTX_set_max_proto_version(x.ctx, TLS1_2_VERSION);
    struct tls_client *by = world_client_for(world_ca_file);
    assert_true(stranger_meets(&x, by, "k"));
    char name[] = HOST "\0k"; /* the key: host, NUL, the caller's */
    struct slice key = slice_of(name, sizeof name - 1);
    SSL_SESSION *like = tls_cache_take(by->cache, key), *again = tls_cache_take(by->cache, key);
    assert_non_null(like);
    assert_ptr_equal(like, again); /* 1.2: as often as one likes */
    SSL_SESSION_free(again);

    struct tls_cache *c = tls_cache_new();
    for (int i = 0; i < 3; i++)
        tls_cache_put(c, key, session_like(like, TLS1_3_VERSION));
    for (int i = 0; i < TLS_CACHE_PER_KEY; i++) {
        SSL_SESSION *s = tls_cache_take(c, key);
        assert_non_null(s);
        SSL_SESSION_free(s);
    }
    assert_null(tls_cache_take(c, key));

    char many[8];
    for (int i = 0; i <= TLS_CACHE_KEYS; i++) {
        snprintf(many, sizeof many, "%d", i);
        tls_cache_put(c, slice_str(many), session_like(like, TLS1_2_VERSION));
        if (i == 1) { /* used again: not the oldest any more */
            SSL_SESSION *s = tls_cache_take(c, SLICE("0"));
            assert_non_null(s);
            SSL_SESSION_free(s);
        }
    }
    SSL_SESSION *s = tls_cache_take(c, SLICE("0"));
    assert_null(tls_cache_take(c, SLICE("1")));
    assert_non_null(s);
    SSL_SESSION_free(s);

    SSL_SESSION *expired = session_like(like, TLS1_2_VERSION);
    set_session_time(expired, 1000);
    tls_cache_put(c, SLICE("expired"), expired);
    assert_null(tls_cache_take(c, SLICE("expired")));
    assert_null(tls_cache_take(c, SLICE("never seen")));
    tls_cache_free(c);
    SSL_SESSION_free(like);
    stranger_parts(&x);
    tls_client_free(by);
    stranger_down(&x);
}

static int tickets;
static int count_ticket(SSL *ssl, SSL_SESSION *session)
{
    tickets++;
    return keep_session(ssl, session);
}

static SSL_SESSION *ticket_of(int version)
{
    char byte;
    if (!client_ctx)
        client_ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_session_cache_mode(client_ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(client_ctx, count_ticket);
    tickets = 0;
    kept = NULL;
    assert_true(say_hello((struct hello){ .sni = HOST, .max_version = version }, HOST, false));
    SSL_read(peer, &byte, 1);
    hang_up();
    SSL_CTX_sess_set_new_cb(client_ctx, NULL);
    SSL_SESSION *session = kept;
    kept = NULL;
    assert_non_null(session);
    return session;
}

static void one_ticket_is_given_and_it_allows_no_early_data(void **state)
{
    (void)state;
    const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };
    for (size_t v = 0; v < 2; v++) {
        SSL_SESSION *session = ticket_of(versions[v]);
        assert_int_equal(tickets, 1);
        assert_int_equal(SSL_SESSION_get_max_early_data(session), 0);
        SSL_SESSION_free(session);
    }
}

static void early_data_that_comes_all_the_same_is_not_read(void **state)
{
    (void)state;
    SSL_SESSION *session = ticket_of(TLS1_3_VERSION);
    size_t n = 0;
    assert_int_equal(SSL_SESSION_set_max_early_data(session, 1000), 1);
    part(NULL);
    end_meet_fd(&server, &peer_fd);
    assert_int_equal(stream_accept_tls(server.s, world_server, world_host_leaf, HOST, false, slice_of(NULL, 0)), 0);
    peer = raw_peer(peer_fd, false, client_ctx);
    SSL_set_tlsext_host_name(peer, HOST);
    SSL_set_session(peer, session);
    assert_int_equal(SSL_write_early_data(peer, "GET /early", 10, &n), 1);
    assert_true(raw_handshake(peer));
    assert_int_equal(SSL_get_early_data_status(peer), SSL_EARLY_DATA_REJECTED);
    assert_true(SSL_session_reused(peer)); /* it was a good ticket */
    assert_int_equal(SSL_write(peer, "GET /", 5), 5);
    RUN_UNTIL(server.in_len);
    assert_string_equal(end_text(&server), "GET /");
    hang_up();
    SSL_SESSION_free(session);
}

static void upstream_gets_no_early_data_although_it_would_take_some(void **state)
{
    (void)state;
    struct stranger x;
    stranger_up(&x);
    SSL_CTX_set_max_early_data(x.ctx, 16384);
    struct tls_client *by = world_client_for(world_ca_file);
    assert_false(resumes(&x, by, "early"));
    part(NULL);
    end_meet_fd(&client, &x.fd);
    x.ssl = raw_peer(x.fd, true, x.ctx);
    assert_int_equal(stream_connect_tls(client.s, by, HOST, false, "early"), 0);
    end_write(&client, "GET /"); /* waits for the handshake's end */
    assert_true(raw_handshake(x.ssl));
    assert_true(SSL_session_reused(x.ssl));
    assert_int_equal(SSL_get_early_data_status(x.ssl), SSL_EARLY_DATA_NOT_SENT);
    stranger_parts(&x);
    tls_client_free(by);
    stranger_down(&x);
}

static void upstream_may_not_renegotiate(void **state)
{
    (void)state;
    struct stranger x;
    char byte;
    stranger_up(&x);
    SSL_CTX_set_max_proto_version(x.ctx, TLS1_2_VERSION);
    assert_true(stranger_meets(&x, world_client, "again"));
    assert_int_equal(SSL_renegotiate(x.ssl), 1);
    (void)SSL_do_handshake(x.ssl); /* HelloRequest */
    turns(4);
    ERR_clear_error();
    assert_int_equal(SSL_read(x.ssl, &byte, 1), -1);
    assert_int_equal(SSL_get_error(x.ssl, -1), SSL_ERROR_SSL);
    assert_int_equal(ERR_GET_REASON(ERR_peek_error()), SSL_R_NO_RENEGOTIATION); /* the client's alert */
    stranger_parts(&x);
    stranger_down(&x);
}

static void errors_that_others_left_in_the_queue_are_not_ours(void **state)
{
    (void)state;
    part(NULL);
    ends_meet(&server, &client);
    ends_secure(&server, &client, world_host_leaf, HOST, HOST, false);
    for (int i = 0; i < 400 && server.in_len < 4; i++) {
        ERR_raise(ERR_LIB_SSL, SSL_R_BAD_LENGTH);
        turns(1);
        ERR_raise(ERR_LIB_SSL, SSL_R_BAD_LENGTH);
        if (i == 100)
            end_write(&client, "ping");
        assert_false(server.events[STREAM_FAILED] || client.events[STREAM_FAILED]);
    }
    assert_string_equal(end_text(&server), "ping");
    ERR_raise(ERR_LIB_SSL, SSL_R_BAD_LENGTH);
    stream_finish(client.s);
    RUN_UNTIL(server.eof);
    ERR_clear_error();
}

/* --- leaves and keys --- */

static void a_leaf_must_be_a_certificate_for_the_workers_key(void **state)
{
    (void)state;
    struct cert other = cert_make((struct cert_spec){ .cn = HOST, .san = "DNS:" HOST, .by = &world_ca });
    unsigned char *der = NULL;
    int len = i2d_X509(other.x509, &der);
    assert_null(tls_leaf_new(world_server, slice_of(der, (size_t)len)));
    assert_null(tls_leaf_new(world_server, slice_of(der, (size_t)len - 1)));
    assert_null(tls_leaf_new(world_server, SLICE("not DER")));
    assert_null(tls_leaf_new(world_server, slice_of(NULL, 0)));
    len = i2d_X509(world_host_leaf->cert, NULL);
    unsigned char *good = malloc((size_t)len + 1), *p = good;
    i2d_X509(world_host_leaf->cert, &p);
    struct tls_leaf *one = tls_leaf_new(world_server, slice_of(good, (size_t)len));
    assert_non_null(one);
    assert_null(tls_leaf_new(world_server, slice_of(good, (size_t)len + 1))); /* something follows it */
    tls_leaf_free(tls_leaf_ref(one));
    tls_leaf_free(one);
    free(good);
    OPENSSL_free(der);
    cert_done(&other);
}

static void a_ticket_key_of_another_length_is_refused(void **state)
{
    (void)state;
    struct err e = { "" };
    assert_null(tls_server_new(SLICE("short"), &e));
    assert_non_null(strstr(e.text, "80"));
}

#define TEST(name) cmocka_unit_test_teardown(name, part)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_handshake_completes_and_bytes_go_both_ways),
        TEST(contexts_may_be_freed_while_streams_use_them),
        TEST(the_keys_of_the_exchange_are_forgotten_after_it),
        TEST(a_certificate_is_judged_by_chain_time_and_name),
        TEST(a_chain_with_an_intermediate_is_followed_and_an_anchor_may_be_one),
        TEST(system_roots_are_honoured_where_the_environment_says),
        TEST(roots_are_found_in_a_hashed_directory),
        TEST(files_that_cannot_be_used_are_named),
        TEST(a_client_certificate_is_shown_to_those_who_ask),
        TEST(old_versions_are_refused_on_both_legs),
        TEST(the_server_name_must_be_the_host_that_was_connected_to),
        TEST(the_protocol_is_http_1_1_or_none),
        TEST(upstream_is_told_the_host_and_offered_http_1_1_alone),
        TEST(an_ip_literal_is_not_sent_as_a_server_name),
        TEST(a_hello_may_come_in_any_pieces),
        TEST(a_request_that_comes_with_the_last_flight_is_seen),
        TEST(the_client_leg_resumes_by_ticket_at_any_worker_for_the_same_host_only),
        TEST(the_upstream_leg_resumes_per_key_and_context),
        TEST(a_session_survives_our_own_abort),
        TEST(a_session_survives_a_server_that_hangs_up_without_a_word),
        TEST(the_session_cache_is_bounded_and_gives_tls_1_3_sessions_once),
        TEST(one_ticket_is_given_and_it_allows_no_early_data),
        TEST(early_data_that_comes_all_the_same_is_not_read),
        TEST(upstream_gets_no_early_data_although_it_would_take_some),
        TEST(upstream_may_not_renegotiate),
        TEST(errors_that_others_left_in_the_queue_are_not_ours),
        TEST(a_leaf_must_be_a_certificate_for_the_workers_key),
        TEST(a_ticket_key_of_another_length_is_refused),
    };
    int failed = cmocka_run_group_tests(tests, world_host_up, world_host_down);
    SSL_CTX_free(client_ctx);
    return failed;
}
