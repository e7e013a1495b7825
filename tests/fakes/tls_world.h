/* tests/fakes/tls_world.h: a little world for TLS tests: an authority, certificates, contexts that trust it, and
 * streams that meet. Everything asserts; nothing leaves the process. */
#ifndef SIDEKEY_TESTS_TLS_WORLD_H
#define SIDEKEY_TESTS_TLS_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <openssl/ssl.h>

#include "net/stream.h"

/* --- certificates --- */

struct cert {
    X509 *x509;
    EVP_PKEY *key;
};
struct cert_spec {
    const char *cn;        /* "" for none */
    const char *san;       /* "DNS:a.test", "IP:127.0.0.1"; NULL: a CA */
    long from_s, until_s;  /* from now; both 0: a day around now */
    const struct cert *by; /* NULL: self-signed */
    EVP_PKEY *key;         /* NULL: a new one */
    const char *eku;       /* "OCSPSigning"; NULL: none */
    const char *features;  /* "status_request": must-staple; NULL: none */
};
struct cert cert_make(struct cert_spec spec);
void cert_done(struct cert *c);
/* Writes PEM to a new file under /tmp; the caller unlinks and frees. */
char *cert_file(X509 *x509, EVP_PKEY *key);

/* --- contexts --- */

extern struct cert world_ca;
extern struct tls_server *world_server;
extern struct tls_client *world_client; /* trusts world_ca */
extern const char *world_ca_file;
int world_up(void **state);
int world_down(void **state);
/* The same with a leaf for WORLD_HOST. */
#define WORLD_HOST "api.example.test"
extern struct tls_leaf *world_host_leaf;
int world_host_up(void **state);
int world_host_down(void **state);
/* A leaf for world_server's key. spec.key and, when NULL, spec.by are filled in. */
struct tls_leaf *world_leaf(struct cert_spec spec);
/* A client context that trusts ca_file alone beside the system's roots. */
struct tls_client *world_client_for(const char *ca_file);

/* --- ends of a connection --- */

struct end {
    struct stream *s;
    int events[5];      /* by enum stream_event */
    char in[4096];      /* what came first */
    size_t in_len;      /* bytes that came, kept or not */
    bool eof, broken;   /* stream_read said EOF, ERROR */
    int free_at;        /* event + 1 in which to free the stream; 0: none */
    bool hands_off;     /* READABLE is not answered by reading */
    bool inside;        /* a stream_* call of the test is running: no event may come */
    size_t source;      /* bytes still to write as room comes */
    size_t queued_most; /* the most that was ever queued */
    size_t read_size;   /* bytes a read asks for; 0: 4096 */
};

/* A connected unix pair: a and b become plain streams that want to read. */
void ends_meet(struct end *a, struct end *b);
/* One end a stream, the other a non-blocking descriptor of the test's. */
void end_meet_fd(struct end *a, int *ret_fd);
void end_init(struct end *e, int fd);
void end_done(struct end *e);
/* Begins TLS on both: server answers as host with leaf; client expects expected under cache key "k". */
void ends_secure(struct end *server, struct end *client, struct tls_leaf *leaf, const char *host, const char *expected,
                 bool ip);
/* The two meet, and speak TLS as WORLD_HOST; returns after the tickets. */
void ends_meet_secured(struct end *server, struct end *client);
/* Writes what room there is of e->source; called by hand for the start. */
void end_pump(struct end *e);
void end_write(struct end *e, const char *text);
/* What came, as text. */
const char *end_text(struct end *e);

/* Turns of the loop, none of which sleeps. */
void turns(int n);
#define RUN_UNTIL(condition)                                                                                           \
    do {                                                                                                               \
        int left_;                                                                                                     \
        for (left_ = 200000; left_ > 0 && !(condition); left_--)                                                       \
            ev_run(loop_get(), EVRUN_NOWAIT);                                                                          \
        if (left_ == 0)                                                                                                \
            fail_msg("never: %s", #condition);                                                                         \
    } while (0)

/* A peer that is plain OpenSSL on a non-blocking descriptor, for what a stream would never do. */
SSL *raw_peer(int fd, bool server, SSL_CTX *ctx);
/* Turns the loop and the peer's handshake until that is done; false: it failed. */
bool raw_handshake(SSL *ssl);

#endif
