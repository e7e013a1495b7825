#include "tests/fakes/tls_world.h"

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct cert world_ca;
struct tls_server *world_server;
struct tls_client *world_client;
const char *world_ca_file;

static void extend(X509 *x509, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer, x509, NULL, NULL, 0);
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    assert_non_null(ext);
    assert_int_equal(X509_add_ext(x509, ext, -1), 1);
    X509_EXTENSION_free(ext);
}

struct cert cert_make(struct cert_spec spec)
{
    static long serial = 1000;
    struct cert c = { X509_new(), spec.key };
    const struct cert *by = spec.by ? spec.by : &c;
    if (c.key)
        EVP_PKEY_up_ref(c.key);
    else
        c.key = EVP_EC_gen("P-256");
    assert_non_null(c.x509);
    assert_non_null(c.key);
    X509_set_version(c.x509, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(c.x509), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(c.x509), spec.from_s || spec.until_s ? spec.from_s : -86400);
    X509_gmtime_adj(X509_getm_notAfter(c.x509), spec.from_s || spec.until_s ? spec.until_s : 86400);
    if (spec.cn[0])
        X509_NAME_add_entry_by_txt(X509_get_subject_name(c.x509), "CN", MBSTRING_ASC, (const unsigned char *)spec.cn,
                                   -1, -1, 0);
    X509_set_issuer_name(c.x509, X509_get_subject_name(by->x509));
    X509_set_pubkey(c.x509, c.key);
    extend(c.x509, by->x509, NID_basic_constraints, spec.san ? "critical,CA:FALSE" : "critical,CA:TRUE");
    extend(c.x509, by->x509, NID_key_usage, spec.san ? "critical,digitalSignature" : "critical,keyCertSign");
    if (spec.san)
        extend(c.x509, by->x509, NID_subject_alt_name, spec.san);
    if (spec.eku)
        extend(c.x509, by->x509, NID_ext_key_usage, spec.eku);
    if (spec.features)
        extend(c.x509, by->x509, NID_tlsfeature, spec.features);
    assert_true(X509_sign(c.x509, by->key, EVP_sha256()) > 0);
    return c;
}

void cert_done(struct cert *c)
{
    X509_free(c->x509);
    EVP_PKEY_free(c->key);
    *c = (struct cert){ 0 };
}

char *cert_file(X509 *x509, EVP_PKEY *key)
{
    char path[] = "/tmp/sidekey-test-XXXXXX";
    FILE *f = fdopen(mkstemp(path), "w");
    assert_non_null(f);
    assert_true(!x509 || PEM_write_X509(f, x509));
    assert_true(!key || PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL));
    fclose(f);
    return strdup(path);
}

struct tls_client *world_client_for(const char *ca_file)
{
    struct err e = { "" };
    struct tls_client *c = tls_client_new(&(struct tls_client_options){ .ca_file = ca_file }, &e);
    if (!c)
        fail_msg("%s", e.text);
    return c;
}

int world_up(void **state)
{
    (void)state;
    struct err e = { "" };
    char ticket_key[80];
    memset(ticket_key, 7, sizeof ticket_key);
    world_ca = cert_make((struct cert_spec){ .cn = "Test Authority" });
    world_ca_file = cert_file(world_ca.x509, NULL);
    world_server = tls_server_new(slice_of(ticket_key, sizeof ticket_key), &e);
    if (!world_server)
        fail_msg("%s", e.text);
    world_client = world_client_for(world_ca_file);
    return 0;
}

int world_down(void **state)
{
    (void)state;
    tls_client_free(world_client);
    tls_server_free(world_server);
    cert_done(&world_ca);
    unlink(world_ca_file);
    free((char *)(uintptr_t)world_ca_file);
    assert_int_equal(ERR_peek_error(), 0);
    return 0;
}

struct tls_leaf *world_host_leaf;

int world_host_up(void **state)
{
    world_up(state);
    world_host_leaf = world_leaf((struct cert_spec){ .cn = WORLD_HOST, .san = "DNS:" WORLD_HOST });
    return 0;
}

int world_host_down(void **state)
{
    tls_leaf_free(world_host_leaf);
    return world_down(state);
}

struct tls_leaf *world_leaf(struct cert_spec spec)
{
    struct slice spki = tls_server_spki(world_server);
    const unsigned char *p = (const unsigned char *)spki.ptr;
    unsigned char *der = NULL;
    spec.key = d2i_PUBKEY(NULL, &p, (long)spki.len);
    spec.by = spec.by ? spec.by : &world_ca;
    struct cert c = cert_make(spec);
    EVP_PKEY_free(spec.key);
    int len = i2d_X509(c.x509, &der);
    assert_true(len > 0);
    struct tls_leaf *leaf = tls_leaf_new(world_server, slice_of(der, (size_t)len));
    assert_non_null(leaf);
    OPENSSL_free(der);
    cert_done(&c);
    return leaf;
}

/* --- ends --- */

static void take(struct end *e)
{
    static char chunk[64 * 1024];
    size_t n = 0;
    size_t size = e->read_size ? e->read_size : 4096;
    for (;;) {
        switch (stream_read(e->s, chunk, size, &n)) {
        case STREAM_OK: break;
        case STREAM_AGAIN: return;
        case STREAM_EOF: e->eof = true; return;
        case STREAM_ERROR: e->broken = true; return;
        }
        assert_in_range(n, 1, size);
        size_t kept = e->in_len < sizeof e->in ? sizeof e->in - e->in_len : 0;
        memcpy(e->in + (kept ? e->in_len : 0), chunk, n < kept ? n : kept);
        e->in_len += n;
        if (e->read_size)
            return; /* a slow reader: once an event */
    }
}

void end_pump(struct end *e)
{
    static const char zeros[64 * 1024];
    size_t space;
    while (e->source > 0 && (space = stream_space(e->s)) > 0) {
        size_t n = e->source < space ? e->source : space;
        n = n < 10000 ? n : 10000;
        assert_int_equal(stream_write(e->s, slice_of(zeros, n)), 0);
        e->source -= n;
        if (stream_out(e->s)->len > e->queued_most)
            e->queued_most = stream_out(e->s)->len;
    }
}

static void on_event(void *owner, enum stream_event event)
{
    struct end *e = owner;
    assert_false(e->inside);
    e->events[event]++;
    if (e->free_at == (int)event + 1) {
        stream_free(e->s);
        e->s = NULL;
        return;
    }
    if (event == STREAM_READABLE && !e->hands_off)
        take(e);
    if (event == STREAM_DRAINED)
        end_pump(e);
}

void end_init(struct end *e, int fd)
{
    *e = (struct end){ .s = stream_new(fd, on_event, e) };
    assert_non_null(e->s);
    stream_want_read(e->s, true);
}

void ends_meet(struct end *a, struct end *b)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    end_init(a, fds[0]);
    end_init(b, fds[1]);
}

void end_meet_fd(struct end *a, int *ret_fd)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    end_init(a, fds[0]);
    *ret_fd = fds[1];
}

void end_done(struct end *e)
{
    stream_free(e->s);
    e->s = NULL;
}

void ends_secure(struct end *server, struct end *client, struct tls_leaf *leaf, const char *host, const char *expected,
                 bool ip)
{
    server->inside = client->inside = true;
    assert_int_equal(stream_accept_tls(server->s, world_server, leaf, host, ip, slice_of(NULL, 0)), 0);
    assert_int_equal(stream_connect_tls(client->s, world_client, expected, ip, "k"), 0);
    server->inside = client->inside = false;
}

void ends_meet_secured(struct end *server, struct end *client)
{
    ends_meet(server, client);
    ends_secure(server, client, world_host_leaf, WORLD_HOST, WORLD_HOST, false);
    RUN_UNTIL(server->events[STREAM_SECURED] && client->events[STREAM_SECURED]);
    turns(3);
}

void end_write(struct end *e, const char *text)
{
    e->inside = true;
    assert_int_equal(stream_write(e->s, slice_str(text)), 0);
    e->inside = false;
}

const char *end_text(struct end *e)
{
    assert_true(e->in_len < sizeof e->in);
    e->in[e->in_len] = 0;
    return e->in;
}

void turns(int n)
{
    while (n-- > 0)
        ev_run(loop_get(), EVRUN_NOWAIT);
}

SSL *raw_peer(int fd, bool server, SSL_CTX *ctx)
{
    SSL *ssl = SSL_new(ctx);
    assert_non_null(ssl);
    assert_int_equal(SSL_set_fd(ssl, fd), 1);
    if (server)
        SSL_set_accept_state(ssl);
    else
        SSL_set_connect_state(ssl);
    return ssl;
}

bool raw_handshake(SSL *ssl)
{
    for (int i = 0; i < 1000; i++) {
        ERR_clear_error();
        int ret = SSL_do_handshake(ssl);
        if (ret == 1)
            return true;
        int error = SSL_get_error(ssl, ret);
        if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
            return false;
        turns(1);
    }
    return false;
}
