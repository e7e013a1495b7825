/* links: tests/fakes/tls_world.c tests/fakes/staples.c */
#include "tests/fakes/staples.h"

#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "net/tls/tls_private.h"
#include "net/tls/tls_staple.h"

#define HOST "api.example.test"
#define REVOKED V_OCSP_CERTSTATUS_REVOKED
#define GOOD V_OCSP_CERTSTATUS_GOOD
#define UNKNOWN V_OCSP_CERTSTATUS_UNKNOWN
#define DAY 86400

static struct cert leaf, other, promising, responder, poor_responder, late_responder, stranger, strangers_responder,
    middle, below_middle;

static struct cert server_cert(const struct cert *by, const char *features)
{
    return cert_make((struct cert_spec){ .cn = HOST, .san = "DNS:" HOST, .by = by, .features = features });
}

static struct cert responder_cert(const struct cert *by, const char *eku, long from_s, long until_s)
{
    return cert_make((struct cert_spec){
        .cn = "Responder", .san = "DNS:ocsp.test", .by = by, .eku = eku, .from_s = from_s, .until_s = until_s });
}

static int up(void **state)
{
    world_up(state);
    leaf = server_cert(&world_ca, NULL);
    other = server_cert(&world_ca, NULL);
    promising = server_cert(&world_ca, "status_request");
    responder = responder_cert(&world_ca, "OCSPSigning", -DAY, DAY);
    poor_responder = responder_cert(&world_ca, "serverAuth", -DAY, DAY);
    late_responder = responder_cert(&world_ca, "OCSPSigning", -2 * DAY, -DAY);
    stranger = cert_make((struct cert_spec){ .cn = "Test Authority" }); /* the same name, another key */
    strangers_responder = responder_cert(&stranger, "OCSPSigning", -DAY, DAY);
    middle = cert_make((struct cert_spec){ .cn = "Middle", .by = &world_ca });
    below_middle = server_cert(&middle, NULL);
    return 0;
}

static int down(void **state)
{
    struct cert *all[] = { &leaf,           &other,    &promising,           &responder, &poor_responder,
                           &late_responder, &stranger, &strangers_responder, &middle,    &below_middle };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        cert_done(all[i]);
    return world_down(state);
}

/* --- the judgement alone --- */

static struct staple judge(struct staple_spec spec)
{
    struct slice der = staple_make(spec);
    struct staple s = tls_staple_judge(der, leaf.x509, world_ca.x509, (int64_t)time(NULL));
    free((void *)(uintptr_t)der.ptr);
    return s;
}

static void a_staple_is_believed_by_signer_subject_and_time(void **state)
{
    (void)state;
    const struct {
        struct staple_spec spec; /* about and issuer are filled in */
        enum staple_status status;
        const char *why;
    } table[] = {
        { { .status = GOOD }, STAPLE_GOOD, NULL },
        { { .status = GOOD, .bare = true }, STAPLE_GOOD, NULL }, /* by the issuer, whom we know */
        { { .status = GOOD, .by = &responder }, STAPLE_GOOD, NULL },
        { { .status = GOOD, .id_md = EVP_sha256() }, STAPLE_GOOD, NULL },
        { { .status = GOOD, .md = EVP_sha384() }, STAPLE_GOOD, NULL },
        { { .status = GOOD, .before = 3 }, STAPLE_GOOD, NULL },
        { { .status = GOOD, .no_until = true, .from_s = -3600 }, STAPLE_GOOD, NULL },
        { { .status = GOOD, .from_s = STAPLE_SKEW_S - 10, .until_s = DAY }, STAPLE_GOOD, NULL },
        { { .status = GOOD, .from_s = -DAY, .until_s = 10 - STAPLE_SKEW_S }, STAPLE_GOOD, NULL },
        { { .status = UNKNOWN }, STAPLE_UNKNOWN, NULL },
        { { .status = REVOKED, .reason = OCSP_REVOKED_STATUS_KEYCOMPROMISE }, STAPLE_REVOKED, "keyCompromise" },
        { { .status = REVOKED, .reason = OCSP_REVOKED_STATUS_NOSTATUS }, STAPLE_REVOKED, "not given" },
        { { .status = REVOKED, .reason = OCSP_REVOKED_STATUS_CERTIFICATEHOLD }, STAPLE_REVOKED, "certificateHold" },
        { { .status = REVOKED, .reason = OCSP_REVOKED_STATUS_SUPERSEDED, .by = &responder },
          STAPLE_REVOKED,
          "superseded" },
        /* a revocation does not end, a hold may */
        { { .status = REVOKED, .reason = OCSP_REVOKED_STATUS_KEYCOMPROMISE, .from_s = -9 * DAY, .until_s = -8 * DAY },
          STAPLE_REVOKED,
          "keyCompromise" },
        { { .status = REVOKED, .reason = OCSP_REVOKED_STATUS_CERTIFICATEHOLD, .from_s = -9 * DAY, .until_s = -8 * DAY },
          STAPLE_UNUSABLE,
          "expired" },
        { { .status = GOOD, .from_s = -DAY, .until_s = -10 - STAPLE_SKEW_S }, STAPLE_UNUSABLE, "expired" },
        { { .status = UNKNOWN, .from_s = -DAY, .until_s = -10 - STAPLE_SKEW_S }, STAPLE_UNUSABLE, "expired" },
        { { .status = GOOD, .from_s = STAPLE_SKEW_S + 10, .until_s = DAY }, STAPLE_UNUSABLE, "not valid yet" },
        { { .status = GOOD, .no_until = true, .from_s = -2 * DAY }, STAPLE_UNUSABLE, "expired" },
        { { .status = GOOD, .from_s = 10, .until_s = -10 }, STAPLE_UNUSABLE, "expired" }, /* ends before it begins */
        { { .status = GOOD, .about = &other }, STAPLE_UNUSABLE, "another certificate" },
        { { .status = REVOKED, .about = &other }, STAPLE_UNUSABLE, "another certificate" },
        /* the serial of another issuer's */
        { { .status = GOOD, .issuer = &stranger, .by = &world_ca }, STAPLE_UNUSABLE, "another certificate" },
        /* too many to look through */
        { { .status = GOOD, .before = STAPLE_ANSWERS_MAX }, STAPLE_UNUSABLE, "another certificate" },
        { { .status = GOOD, .by = &stranger }, STAPLE_UNUSABLE, "not signed" },
        { { .status = REVOKED, .by = &stranger }, STAPLE_UNUSABLE, "not signed" },
        { { .status = GOOD, .by = &strangers_responder }, STAPLE_UNUSABLE, "not signed" },
        /* by the issuer, but not for this */
        { { .status = GOOD, .by = &poor_responder }, STAPLE_UNUSABLE, "not signed" },
        { { .status = GOOD, .by = &leaf }, STAPLE_UNUSABLE, "not signed" }, /* of itself */
        { { .status = GOOD, .by = &late_responder }, STAPLE_UNUSABLE, "not signed" },
        /* no one knows that responder */
        { { .status = GOOD, .by = &responder, .bare = true }, STAPLE_UNUSABLE, "not signed" },
        { { .status = GOOD, .md = EVP_sha1() }, STAPLE_UNUSABLE, "not signed" },
        { { .status = REVOKED, .md = EVP_sha1() }, STAPLE_UNUSABLE, "not signed" },
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct staple_spec spec = table[i].spec;
        spec.about = spec.about ? spec.about : &leaf;
        spec.issuer = spec.issuer ? spec.issuer : &world_ca;
        struct staple s = judge(spec);
        if (s.status != table[i].status || !s.why != !table[i].why || (s.why && !strstr(s.why, table[i].why)))
            fail_msg("row %zu: status %d, \"%s\"", i, (int)s.status, s.why ? s.why : "");
        if (s.status == STAPLE_REVOKED)
            assert_string_equal(s.revoked_at, "2023-11-14 22:13:20 UTC");
        assert_int_equal(ERR_peek_error(), 0);
    }
}

static void a_good_staple_is_good_until_its_next_update(void **state)
{
    (void)state;
    int64_t now_s = (int64_t)time(NULL);
    struct staple s =
        judge((struct staple_spec){ .about = &leaf, .issuer = &world_ca, .from_s = -10, .until_s = 5000 });
    assert_in_range(s.good_until_s, now_s + 5000, now_s + 5000 + STAPLE_SKEW_S + 2);
    s = judge((struct staple_spec){ .about = &leaf, .issuer = &world_ca, .from_s = -10, .no_until = true });
    assert_in_range(s.good_until_s, now_s + DAY - 20, now_s + DAY + STAPLE_SKEW_S + 2);
}

static void bytes_that_are_no_response_prove_nothing(void **state)
{
    (void)state;
    struct slice der = staple_make((struct staple_spec){ .about = &leaf, .issuer = &world_ca });
    int64_t now_s = (int64_t)time(NULL);
    unsigned char *copy = malloc(STAPLE_MAX + 1);
    memset(copy, 0, STAPLE_MAX + 1);
    memcpy(copy, der.ptr, der.len);
    assert_int_equal(tls_staple_judge(slice_of(copy, der.len), leaf.x509, world_ca.x509, now_s).status, STAPLE_GOOD);
    /* something follows it */
    assert_int_equal(tls_staple_judge(slice_of(copy, der.len + 1), leaf.x509, world_ca.x509, now_s).status,
                     STAPLE_UNUSABLE);
    assert_int_equal(tls_staple_judge(slice_of(copy, STAPLE_MAX + 1), leaf.x509, world_ca.x509, now_s).status,
                     STAPLE_UNUSABLE);
    for (size_t n = 1; n < der.len; n++) /* cut anywhere */
        assert_int_equal(tls_staple_judge(slice_of(copy, n), leaf.x509, world_ca.x509, now_s).status, STAPLE_UNUSABLE);
    for (size_t i = 0; i < der.len; i++) { /* a bit turned anywhere: never a proof of anything else */
        copy[i] ^= 1;
        struct staple s = tls_staple_judge(slice_of(copy, der.len), leaf.x509, world_ca.x509, now_s);
        /* the signer's own certificate in it is not needed */
        assert_true(s.status == STAPLE_UNUSABLE || s.status == STAPLE_GOOD);
        copy[i] ^= 1;
    }
    assert_int_equal(tls_staple_judge(slice_of(NULL, 0), leaf.x509, world_ca.x509, now_s).status, STAPLE_NONE);
    assert_int_equal(tls_staple_judge(der, leaf.x509, NULL, now_s).status, STAPLE_UNUSABLE);
    const unsigned char try_later[] = { 0x30, 3, 0x0a, 1, 3 };
    assert_non_null(strstr(tls_staple_judge(slice_of(try_later, sizeof try_later), leaf.x509, world_ca.x509, now_s).why,
                           "gave no status"));
    assert_int_equal(ERR_peek_error(), 0);
    free(copy);
    free((void *)(uintptr_t)der.ptr);
}

static void the_promise_of_a_staple_is_read_from_the_whole_chain(void **state)
{
    (void)state;
    struct cert demanding =
        cert_make((struct cert_spec){ .cn = "Demanding", .by = &world_ca, .features = "status_request" });
    struct cert second = server_cert(&world_ca, "status_request_v2"),
                both = server_cert(&world_ca, "status_request_v2,status_request");
    struct cert unreadable = server_cert(&world_ca, "DER:0401ff");
    const struct {
        const struct cert *chain[3];
        bool promised;
    } table[] = {
        { { &leaf, &world_ca }, false },
        { { &promising, &world_ca }, true },
        { { &leaf, &demanding, &world_ca }, true },
        { { &second, &world_ca }, false }, /* we do not offer that one, and RFC 7633 asks for what both know */
        { { &both, &world_ca }, true },
        { { &unreadable, &world_ca }, true },
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        STACK_OF(X509) *chain = sk_X509_new_null();
        for (int n = 0; n < 3 && table[i].chain[n]; n++)
            sk_X509_push(chain, table[i].chain[n]->x509);
        assert_int_equal(tls_staple_promised(chain), table[i].promised);
        assert_ptr_equal(tls_staple_issuer(chain), table[i].chain[1]->x509);
        sk_X509_free(chain);
    }
    STACK_OF(X509) *alone = sk_X509_new_null();
    assert_null(tls_staple_issuer(alone));
    sk_X509_push(alone, leaf.x509);
    assert_null(tls_staple_issuer(alone)); /* itself an anchor: nobody says who made it */
    sk_X509_set(alone, 0, world_ca.x509);
    assert_ptr_equal(tls_staple_issuer(alone), world_ca.x509);
    sk_X509_free(alone);
    cert_done(&demanding);
    cert_done(&second);
    cert_done(&both);
    cert_done(&unreadable);
    assert_int_equal(ERR_peek_error(), 0);
}

/* --- in the handshake, with a server of plain OpenSSL --- */

static struct end client;
static struct slice shown; /* what the server staples; NULL: nothing */
static int asked;          /* times that a client asked for a staple */
static SSL *peer;
static int peer_fd;

static int staple(SSL *ssl, void *arg)
{
    (void)arg;
    asked++;
    if (!shown.ptr)
        return SSL_TLSEXT_ERR_NOACK;
    unsigned char *copy = OPENSSL_memdup(shown.ptr, shown.len);
    SSL_set_tlsext_status_ocsp_resp(ssl, copy, (long)shown.len);
    return SSL_TLSEXT_ERR_OK;
}

static SSL_CTX *stapler(const struct cert *cert, const struct cert *chain, int version)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    SSL_CTX_use_certificate(ctx, cert->x509);
    SSL_CTX_use_PrivateKey(ctx, cert->key);
    if (chain)
        SSL_CTX_add1_chain_cert(ctx, chain->x509);
    SSL_CTX_set_max_proto_version(ctx, version);
    SSL_CTX_set_tlsext_status_cb(ctx, staple);
    return ctx;
}

static bool meet(SSL_CTX *ctx, struct tls_client *by, const char *key)
{
    end_meet_fd(&client, &peer_fd);
    peer = raw_peer(peer_fd, true, ctx);
    assert_int_equal(stream_connect_tls(client.s, by, HOST, false, key), 0);
    (void)raw_handshake(peer);
    turns(4);
    return client.events[STREAM_SECURED] == 1;
}

/* The server's view: what the client said last. */
static int alert(void)
{
    char byte;
    if (ERR_peek_error() == 0)
        (void)SSL_read(peer, &byte, 1);
    int reason = ERR_GET_REASON(ERR_peek_error()) - SSL_AD_REASON_OFFSET;
    ERR_clear_error();
    return reason;
}

static void part(void)
{
    end_done(&client);
    SSL_shutdown(peer);
    SSL_free(peer);
    close(peer_fd);
    ERR_clear_error();
    turns(2);
}

static void show(struct slice der)
{
    free((void *)(uintptr_t)shown.ptr);
    shown = der;
}

static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };

static void a_revoked_certificate_ends_the_handshake_before_a_byte_of_ours(void **state)
{
    (void)state;
    show(staple_make((struct staple_spec){
        .about = &leaf, .issuer = &world_ca, .status = REVOKED, .reason = OCSP_REVOKED_STATUS_KEYCOMPROMISE }));
    for (size_t v = 0; v < 2; v++) {
        SSL_CTX *ctx = stapler(&leaf, NULL, versions[v]);
        end_done(&client);
        assert_false(meet(ctx, world_client, "revoked"));
        assert_true(stream_verify_failed(client.s));
        assert_string_equal(stream_error_label(client.s), "tls_certificate_error");
        assert_string_equal(stream_error(client.s),
                            "certificate was revoked on 2023-11-14 22:13:20 UTC, reason keyCompromise "
                            "(depth 0, subject CN=" HOST ", issuer CN=Test Authority) for " HOST);
        assert_int_equal(alert(), SSL_AD_BAD_CERTIFICATE_STATUS_RESPONSE);
        part();
        SSL_CTX_free(ctx);
    }
    show(slice_of(NULL, 0));
}

static void what_proves_nothing_counts_as_none_unless_a_staple_was_promised(void **state)
{
    (void)state;
    const struct {
        struct staple_spec spec;
        const char *bytes; /* instead of a response */
        const char *words; /* in the refusal of a certificate with must-staple; NULL: accepted there too */
    } table[] = {
        { .spec = { .status = GOOD } },
        { .spec = { .status = GOOD, .by = &responder } },
        { .spec = { .status = UNKNOWN }, .words = "the CA's responder does not know the certificate" },
        { .spec = { .from_s = -9 * DAY, .until_s = -8 * DAY }, .words = "it has expired" },
        { .spec = { .by = &stranger }, .words = "it is not signed by the issuer" },
        { .spec = { .status = REVOKED, .by = &stranger }, .words = "it is not signed by the issuer" },
        { .spec = { .about = &other }, .words = "it is about another certificate" },
        { .bytes = "garbage", .words = "it is not an OCSP response" },
        { .bytes = "", .words = "the server sent none" },
    };
    for (size_t i = 0; i < 4 * sizeof table / sizeof *table; i++) {
        const struct cert *cert = i / 2 % 2 ? &promising : &leaf;
        struct staple_spec spec = table[i / 4].spec;
        const char *words = cert == &promising ? table[i / 4].words : NULL;
        spec.about = spec.about ? spec.about : cert;
        spec.issuer = &world_ca;
        show(!table[i / 4].bytes     ? staple_make(spec)
             : table[i / 4].bytes[0] ? slice_str(strdup(table[i / 4].bytes))
                                     : slice_of(NULL, 0));
        SSL_CTX *ctx = stapler(cert, NULL, versions[i % 2]);
        char key[16];
        snprintf(key, sizeof key, "row%zu", i);
        if (meet(ctx, world_client, key) != !words)
            fail_msg("row %zu: %s", i, stream_error(client.s));
        if (words) {
            assert_non_null(strstr(stream_error(client.s), "must-staple"));
            assert_non_null(strstr(stream_error(client.s), words));
            assert_true(stream_verify_failed(client.s));
            assert_int_equal(alert(), SSL_AD_BAD_CERTIFICATE_STATUS_RESPONSE);
        }
        part();
        SSL_CTX_free(ctx);
    }
    show(slice_of(NULL, 0));
}

static void an_issuer_below_the_root_signs_for_its_own(void **state)
{
    (void)state;
    /* the root is not the issuer: its "revoked" about this serial is none */
    const struct cert *signers[] = { &middle, &world_ca };
    for (size_t i = 0; i < 2; i++) {
        show(staple_make(
            (struct staple_spec){ .about = &below_middle, .issuer = &middle, .by = signers[i], .status = REVOKED }));
        SSL_CTX *ctx = stapler(&below_middle, &middle, TLS1_3_VERSION);
        assert_int_equal(meet(ctx, world_client, i ? "by root" : "by middle"), i == 1);
        part();
        SSL_CTX_free(ctx);
    }
    show(slice_of(NULL, 0));
}

/* Connects once and reads what comes after the handshake (tickets).  Whether the session was resumed; -1: refused. */
static int visit(SSL_CTX *ctx, struct tls_client *by, const char *key)
{
    bool done = meet(ctx, by, key);
    int resumed = done ? SSL_session_reused(peer) : -1;
    part();
    return resumed;
}

static void the_verdict_of_the_full_handshake_holds_for_what_is_resumed(void **state)
{
    (void)state;
    for (size_t v = 0; v < 2; v++) {
        struct tls_client *by = world_client_for(world_ca_file), *another = world_client_for(world_ca_file);
        SSL_CTX *ctx = stapler(&promising, NULL, versions[v]);
        SSL_CTX_set_num_tickets(ctx, 1);
        show(staple_make((struct staple_spec){ .about = &promising, .issuer = &world_ca }));
        assert_int_equal(visit(ctx, by, "k"), 0);
        show(slice_of(NULL, 0));
        assert_int_equal(visit(ctx, by, "k"), 1); /* no staple comes with a resumption, though one was promised */
        assert_int_equal(visit(ctx, by, "k"), 1);
        assert_int_equal(visit(ctx, another, "k"), -1); /* another identity asks anew */

        show(staple_make((struct staple_spec){ .about = &promising, .issuer = &world_ca, .status = REVOKED }));
        assert_int_equal(visit(ctx, by, "another key"), -1);
        assert_int_equal(visit(ctx, by, "k"), -1); /* once known as revoked, nothing is resumed from before */
        show(slice_of(NULL, 0));
        tls_client_free(by);
        tls_client_free(another);
        SSL_CTX_free(ctx);
    }
}

static void a_session_is_not_resumed_beyond_the_end_of_its_staple(void **state)
{
    (void)state;
    for (size_t v = 0; v < 2; v++) {
        struct tls_client *by = world_client_for(world_ca_file);
        SSL_CTX *ctx = stapler(&promising, NULL, versions[v]);
        show(staple_make(
            (struct staple_spec){ .about = &promising, .issuer = &world_ca, .from_s = -DAY, .until_s = 5000 }));
        assert_int_equal(visit(ctx, by, "k"), 0);
        assert_int_equal(visit(ctx, by, "k"), 1);
        char name[] = HOST "\0k";
        SSL_SESSION *session = tls_cache_take(by->cache, slice_of(name, sizeof name - 1));
        assert_non_null(session);
        int64_t now_s = (int64_t)time(NULL);
        /* a ticket of a ticket knows it as well */
        assert_in_range(tls_revocation_session_until_s(session), now_s + 4000, now_s + 6000);
        tls_cache_forget(by->cache, promising.x509);
        assert_int_equal(tls_revocation_bind(session, now_s), 1);
        tls_cache_put(by->cache, slice_of(name, sizeof name - 1), session);
        assert_null(tls_cache_take(by->cache, slice_of(name, sizeof name - 1)));
        show(slice_of(NULL, 0));
        tls_client_free(by);
        SSL_CTX_free(ctx);
    }
}

static void every_full_handshake_asks_for_a_staple(void **state)
{
    (void)state;
    for (size_t v = 0; v < 2; v++) {
        struct tls_client *by = world_client_for(world_ca_file);
        SSL_CTX *ctx = stapler(&leaf, NULL, versions[v]);
        show(staple_make((struct staple_spec){ .about = &leaf, .issuer = &world_ca }));
        asked = 0;
        assert_true(meet(ctx, by, "k"));
        assert_int_equal(asked, 1);
        part();
        show(slice_of(NULL, 0));
        tls_client_free(by);
        SSL_CTX_free(ctx);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_staple_is_believed_by_signer_subject_and_time),
        cmocka_unit_test(a_good_staple_is_good_until_its_next_update),
        cmocka_unit_test(bytes_that_are_no_response_prove_nothing),
        cmocka_unit_test(the_promise_of_a_staple_is_read_from_the_whole_chain),
        cmocka_unit_test(a_revoked_certificate_ends_the_handshake_before_a_byte_of_ours),
        cmocka_unit_test(what_proves_nothing_counts_as_none_unless_a_staple_was_promised),
        cmocka_unit_test(an_issuer_below_the_root_signs_for_its_own),
        cmocka_unit_test(the_verdict_of_the_full_handshake_holds_for_what_is_resumed),
        cmocka_unit_test(a_session_is_not_resumed_beyond_the_end_of_its_staple),
        cmocka_unit_test(every_full_handshake_asks_for_a_staple),
    };
    return cmocka_run_group_tests(tests, up, down);
}
