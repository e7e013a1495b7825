/* What the keeper keeps: sealed states, the journal, the store of files, assertions, the authority and what it signs.
 */
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "certs/bundle.h"
#include "certs/ca.h"
#include "crypto/jws.h"
#include "crypto/seal.h"
#include "net/loop.h"
#include "net/tls/tls.h"
#include "refresh/grant/grant.h"
#include "refresh/store/journal.h"
#include "refresh/store/store_file.h"
#include "tests/torture/torture.h"

#define ANSWER                                                                                                         \
    "{\"access_token\":\"at\",\"refresh_token\":\"rt\",\"expires_in\":3600,\"instance_url\":\"https://"                \
    "x.test\",\"n\":[1,{\"a\":null}]}"
#define NOW 1700000000

static char top[64];
static struct seal_ring *ring;
static struct ca *authority;
static char signing_key[1024], roots[] = "/tmp/sidekey-torture-roots-XXXXXX";

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *walk)
{
    (void)st, (void)flag, (void)walk;
    return remove(path);
}

static void make_place(void)
{
    snprintf(top, sizeof top, "/tmp/sidekey-torture-XXXXXX");
    CHECK(mkdtemp(top));
}

static void drop_place(void)
{
    CHECK(nftw(top, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0);
}

static const char *in_top(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", top, name);
    return path;
}

/* A whole state, made without a failure. */
static void make_state(struct state *s, const char *token)
{
    torture_pause();
    state_init(s);
    s->generation = 1;
    CHECK(secret_set(&s->access_token, slice_str(token)) == 0 && secret_set(&s->refresh_token, SLICE("rt")) == 0);
    CHECK((s->extra = json_pack("{s:s, s:[i, i]}", "scope", "a b", "list", 1, 2)));
    torture_go_on();
}

static void a_key_ring_is_made_or_says_why(void)
{
    struct err e = { "" };
    struct seal_ring *r = seal_ring_new(SLICE("5ea15ea15ea15ea15ea15ea15ea15ea15ea15ea15ea15ea15ea15ea15ea15ea1"),
                                        SLICE("0123456789abcdef0123456789abcdef"), &e);
    CHECK(r || (torture_struck() && *e.text));
    seal_ring_free(r);
}

static void what_is_sealed_opens_or_nothing_is_written(void)
{
    struct buf blob, plain;
    buf_init(&blob, 4096);
    buf_init_secret(&plain, 4096);
    int failed = seal_blob(ring, SLICE("context"), SLICE("secret"), &blob);
    CHECK(failed == 0 || (torture_struck() && blob.len == 0));
    if (failed == 0) {
        failed = seal_open(ring, SLICE("context"), buf_slice(&blob), &plain);
        CHECK(failed == 0 ? slice_eq(buf_slice(&plain), SLICE("secret"))
                          : torture_struck() && failed == -ENOMEM && plain.len == 0);
    }
    buf_done(&blob);
    buf_done(&plain);
}

static void a_state_is_copied_and_read_whole_or_left_as_it_was(void)
{
    struct state from, to;
    struct buf text;
    struct err e;
    make_state(&from, "new");
    make_state(&to, "old");
    buf_init_secret(&text, STATE_MAX_BYTES);
    if (state_copy(&to, &from) != 0)
        CHECK(torture_struck() && slice_eq(secret_peek(&to.access_token), SLICE("old"))
              && json_object_size(to.extra) == 2);
    else
        CHECK(slice_eq(secret_peek(&to.access_token), SLICE("new")) && json_equal(to.extra, from.extra));
    int failed = state_write(&from, &text);
    CHECK(failed == 0 || (torture_struck() && text.len == 0));
    if (failed == 0 && state_read(&to, buf_slice(&text), &e) == 0)
        CHECK(slice_eq(secret_peek(&to.access_token), SLICE("new")) && to.generation == 1
              && json_equal(to.extra, from.extra));
    else
        CHECK(torture_struck() && to.generation == 1 && secret_peek(&to.access_token).len == 3);
    buf_done(&text);
    state_done(&from);
    state_done(&to);
}

static void the_journal_has_an_entry_whole_or_not_at_all(void)
{
    struct err e = { "" };
    struct state s;
    struct journal_entry entry;
    make_place();
    make_state(&s, "at");
    struct journal *j = journal_open(top, ring, &e);
    CHECK(j || (torture_struck() && *e.text));
    int intent = j ? journal_intent(j, "crm", 6, "01234567", 5) : -1,
        answer = j ? journal_answer(j, "crm", 6, &s, 6) : -1;
    CHECK((intent == 0 && answer == 0) || torture_struck());
    torture_pause(); /* what another keeper finds */
    struct journal *later = journal_open(top, ring, &e);
    CHECK(later && journal_read(later, "crm", &entry, &e) == 0);
    if (answer == 0)
        CHECK(entry.kind == JOURNAL_ANSWER && entry.parent_gen == 6
              && slice_eq(secret_peek(&entry.state.access_token), SLICE("at")));
    else
        CHECK(entry.kind == (intent == 0 ? JOURNAL_INTENT : JOURNAL_NONE));
    journal_entry_done(&entry);
    torture_go_on();
    int failed = journal_read(later, "crm", &entry, &e);
    CHECK(failed == 0 || (torture_struck() && *e.text));
    if (failed == 0)
        journal_entry_done(&entry);
    CHECK(journal_clear(later, "crm") == 0 || torture_struck());
    journal_close(later);
    journal_close(j);
    state_done(&s);
    drop_place();
}

/* ---- the store of files ---- */

static struct {
    bool came;
    enum store_result result;
    uint64_t generation;
    char token[16];
} got;

static void on_answer(void *arg, const struct store_answer *answer)
{
    (void)arg;
    got.came = true;
    got.result = answer->result;
    got.generation = answer->state ? answer->state->generation : answer->generation;
    struct slice token = answer->state ? secret_peek(&answer->state->access_token) : SLICE("");
    snprintf(got.token, sizeof got.token, "%.*s", (int)token.len, token.len ? token.ptr : "");
    CHECK(answer->result != STORE_ERROR || (torture_struck() && answer->error));
}

/* false: the operation was not taken, or failed. */
static bool answered(const struct store_op *op)
{
    got.came = false;
    CHECK(op || torture_struck());
    while (op && !got.came)
        ev_run(loop_get(), EVRUN_ONCE);
    return op && got.result != STORE_ERROR;
}

static void a_commit_is_stored_whole_or_not_at_all(void)
{
    static const struct store_owner owner = { "owner" };
    struct err e = { "" };
    struct state s;
    make_place();
    make_state(&s, "at");
    struct store *store = store_file_new(top, ring, &e);
    CHECK(store || (torture_struck() && *e.text));
    bool won = store && answered(store_begin(store, "crm", &owner, 60000, 0, on_answer, NULL));
    CHECK(!won || (got.result == STORE_WON && got.generation == 0));
    bool renewed = won && answered(store_renew(store, "crm", &owner, 60000, on_answer, NULL));
    CHECK(!renewed || got.result == STORE_OK);
    bool stored = won && answered(store_commit(store, "crm", &owner, 0, &s, on_answer, NULL));
    CHECK(!stored || (got.result == STORE_OK && got.generation == 1));
    if (won && !stored && answered(store_release(store, "crm", &owner, on_answer, NULL)))
        CHECK(got.result == STORE_OK);
    store_free(store);
    torture_pause(); /* what another keeper finds: the lease is free, and what was said to be stored is there */
    CHECK((store = store_file_new(top, ring, &e))
          && answered(store_begin(store, "crm", &owner, 60000, 7, on_answer, NULL)));
    CHECK(got.result == STORE_WON && got.generation == stored);
    CHECK(strcmp(got.token, stored ? "at" : "") == 0);
    torture_go_on();
    store_free(store);
    state_done(&s);
    drop_place();
}

/* ---- requests, answers, signatures ---- */

static void a_token_answer_is_taken_whole_or_called_broken(void)
{
    struct grant_answer a = { .lifetime_ms = 0 };
    char why[128] = "";
    /* short of memory it may have lost a member that only rules may name */
    if (grant_answer_parse(&(struct grant_input){ .status = 200, .body = SLICE(ANSWER) }, &a, why) == GRANT_TOKEN)
        CHECK(slice_eq(secret_peek(&a.access_token), SLICE("at"))
              && slice_eq(secret_peek(&a.refresh_token), SLICE("rt")) && a.lifetime_ms == 3600000);
    else
        CHECK(torture_struck() && *why);
    grant_answer_done(&a);
}

static void a_request_is_built_whole_or_not_at_all(void)
{
    static const enum grant_kind kinds[] = { GRANT_REFRESH_TOKEN, GRANT_CLIENT_CREDENTIALS, GRANT_JWT_BEARER,
                                             GRANT_TOKEN_EXCHANGE };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct credential_spec spec = { .name = (char[]){ "crm" },
                                        .grant = kinds[i],
                                        .token_url = (char[]){ "https://login.test/token" },
                                        .client_id = (char[]){ "id" },
                                        .client_auth = CLIENT_AUTH_BASIC,
                                        .scope = (char[]){ "a b" } };
        struct grant_secrets secrets = { .client_secret = SLICE("cs"),
                                         .refresh_token = SLICE("rt"),
                                         .signing_key = slice_str(signing_key),
                                         .subject_token = SLICE("st"),
                                         .now_wall_s = NOW };
        struct grant_request r = { .field_count = 0 };
        struct err e = { "" };
        if (grant_build(&spec, &secrets, &r, &e) == 0)
            CHECK(memmem(r.body.data + r.body.start, r.body.len, "grant_type", 10));
        else
            CHECK(torture_struck() && *e.text && r.body.len == 0 && r.authorization.len == 0);
        grant_request_done(&r);
    }
}

static void an_assertion_is_signed_or_nothing_is_written(void)
{
    struct buf out;
    struct err e = { "" };
    buf_init_secret(&out, 4096);
    int failed = jws_sign(&(struct jws_key){ .pem = slice_str(signing_key), .kid = SLICE("k1") },
                          SLICE("{\"iss\":\"me\"}"), &out, &e);
    CHECK(failed == 0 ? out.len > 100 : torture_struck() && out.len == 0 && *e.text);
    buf_done(&out);
}

/* ---- certificates ---- */

static void an_authority_is_made_or_says_why(void)
{
    static const char *const hosts[] = { "api.test", "*.other.test", "127.0.0.1", NULL };
    struct err e = { "" };
    struct buf pem;
    buf_init_secret(&pem, 16384);
    struct ca *ca = ca_new(&(struct ca_options){ .permit_hosts = hosts }, NOW, &e);
    CHECK(ca || (torture_struck() && *e.text));
    if (ca && ca_add_pem(ca, &pem) == 0)
        CHECK(slice_starts(buf_slice(&pem), SLICE("-----BEGIN CERTIFICATE-----\n")));
    else
        CHECK(torture_struck() && pem.len == 0);
    buf_done(&pem);
    ca_free(ca);
}

static void a_leaf_is_signed_and_taken_or_refused(void)
{
    static const char ticket_key[80];
    struct err e = { "" };
    struct buf der;
    int64_t until_s = -1;
    buf_init(&der, 8192);
    struct tls_server *server = tls_server_new(slice_of(ticket_key, sizeof ticket_key), &e);
    CHECK(server || (torture_struck() && *e.text));
    int failed =
        server ? ca_sign_leaf(authority, SLICE("api.test"), tls_server_spki(server), NOW, &der, &until_s, &e) : -1;
    CHECK(failed == 0 ? until_s > NOW : torture_struck() && der.len == 0 && until_s == -1);
    struct tls_leaf *leaf = failed ? NULL : tls_leaf_new(server, buf_slice(&der));
    CHECK(leaf || torture_struck());
    tls_leaf_free(leaf);
    tls_server_free(server);
    buf_done(&der);
}

static void an_upstream_context_is_made_or_says_why(void)
{
    struct err e = { "" };
    struct tls_client *c = tls_client_new(&(struct tls_client_options){ .ca_file = NULL }, &e);
    CHECK(c || (torture_struck() && *e.text));
    tls_client_free(c);
}

static void the_bundle_is_published_whole_or_left_as_it_was(void)
{
    struct err e = { "" };
    struct buf pem;
    char read[8192] = "";
    make_place();
    buf_init(&pem, 8192);
    torture_pause();
    CHECK(ca_add_pem(authority, &pem) == 0);
    torture_go_on();
    int failed = bundle_publish(in_top("ca"), buf_slice(&pem), NULL, true, &e);
    CHECK(failed == 0 || (torture_struck() && *e.text));
    FILE *f = fopen(in_top("ca/ca.pem"), "r");
    if (f) {
        CHECK(fread(read, 1, sizeof read, f) == pem.len && memcmp(read, buf_slice(&pem).ptr, pem.len) == 0);
        fclose(f);
    }
    CHECK(f || failed);
    buf_done(&pem);
    drop_place();
}

static void make_keys(void)
{
    struct err e;
    struct buf pem;
    ring = seal_ring_new(SLICE("0123456789abcdef0123456789abcdef"), SLICE(""), &e);
    authority = ca_new(&(struct ca_options){ .permit_hosts = NULL }, NOW, &e);
    buf_init_secret(&pem, sizeof signing_key - 1);
    CHECK(ring && authority && ca_add_key_pem(authority, &pem) == 0);
    memcpy(signing_key, buf_slice(&pem).ptr, pem.len);
    buf_done(&pem);
    int fd = mkstemp(roots); /* a system's own bundle is large, and every line of it is read alike */
    CHECK(fd >= 0 && ca_add_pem(authority, &pem) == 0 && write(fd, buf_slice(&pem).ptr, pem.len) == (ssize_t)pem.len);
    close(fd);
    buf_done(&pem);
    setenv("SSL_CERT_FILE", roots, 1);
    setenv("SSL_CERT_DIR", "/nonexistent", 1);
}

int main(int argc, char **argv)
{
    static const struct torture list[] = {
        { "a_key_ring_is_made_or_says_why", a_key_ring_is_made_or_says_why },
        { "what_is_sealed_opens_or_nothing_is_written", what_is_sealed_opens_or_nothing_is_written },
        { "a_state_is_copied_and_read_whole_or_left_as_it_was", a_state_is_copied_and_read_whole_or_left_as_it_was },
        { "the_journal_has_an_entry_whole_or_not_at_all", the_journal_has_an_entry_whole_or_not_at_all },
        { "a_commit_is_stored_whole_or_not_at_all", a_commit_is_stored_whole_or_not_at_all },
        { "a_token_answer_is_taken_whole_or_called_broken", a_token_answer_is_taken_whole_or_called_broken },
        { "a_request_is_built_whole_or_not_at_all", a_request_is_built_whole_or_not_at_all },
        { "an_assertion_is_signed_or_nothing_is_written", an_assertion_is_signed_or_nothing_is_written },
        { "an_authority_is_made_or_says_why", an_authority_is_made_or_says_why },
        { "a_leaf_is_signed_and_taken_or_refused", a_leaf_is_signed_and_taken_or_refused },
        { "an_upstream_context_is_made_or_says_why", an_upstream_context_is_made_or_says_why },
        { "the_bundle_is_published_whole_or_left_as_it_was", the_bundle_is_published_whole_or_left_as_it_was },
    };
    torture_prepare();
    make_keys();
    int status = torture_main(argc, argv, list, sizeof list / sizeof *list);
    unlink(roots);
    ca_free(authority);
    seal_ring_free(ring);
    return status;
}
