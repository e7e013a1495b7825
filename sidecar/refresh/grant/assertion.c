#include "refresh/grant/assertion.h"

#include "base/json_safe.h"
#include "base/rand.h"
#include "base/str.h"

#define JTI_BYTES 16

static const int64_t lifetimes_s[] = { [ASSERTION_GRANT] = 3600, [ASSERTION_CLIENT] = 300, [ASSERTION_GITHUB] = 600 };

/* What a key file holds: a PEM text, or Google's JSON around it. */
struct key_file {
    struct slice pem, kid, account;
    json_t *root; /* NULL: PEM */
};

static struct slice text_of(const json_t *object, const char *name)
{
    const json_t *v = json_object_get(object, name);
    return json_is_string(v) ? slice_of(json_string_value(v), json_string_length(v)) : SLICE("");
}

static void key_file_done(struct key_file *k)
{
    struct slice pem = text_of(k->root, "private_key");
    if (pem.len) /* the parser's copy of the key must not stay in freed memory */
        explicit_bzero((char *)(uintptr_t)pem.ptr, pem.len);
    json_decref(k->root);
}

static int key_file_read(struct slice text, struct key_file *ret, struct err *e)
{
    *ret = (struct key_file){ .pem = text };
    if (text.len == 0 || text.ptr[0] != '{')
        return 0;
    ret->root = json_safe_load(text, 0, NULL);
    ret->pem = text_of(ret->root, "private_key");
    ret->kid = text_of(ret->root, "private_key_id");
    ret->account = text_of(ret->root, "client_email");
    if (ret->pem.len && ret->account.len)
        return 0;
    key_file_done(ret);
    return err_set(e, "the signing key is JSON without private_key and client_email: write Google's service-account "
                      "key file, or PEM");
}

static struct slice first_of(struct slice a, struct slice b)
{
    return a.len ? a : b;
}

static void add_times(struct grant_writer *w, enum assertion_role role, const struct credential_spec *spec,
                      int64_t now_s)
{
    int64_t lifetime_s = spec->assertion.lifetime_ms ? spec->assertion.lifetime_ms / 1000 : lifetimes_s[role],
            iat = now_s - ASSERTION_EARLY_S;
    grant_writer_add_number(w, "iat", iat);
    /* counted from iat: Google allows an hour from there, GitHub ten minutes from now */
    grant_writer_add_number(w, "exp", iat + lifetime_s);
}

static void add_jti(struct grant_writer *w)
{
    unsigned char bytes[JTI_BYTES];
    struct buf text;
    rand_bytes(bytes, sizeof bytes);
    buf_init(&text, 64);
    if (str_add_base64url(&text, slice_of(bytes, sizeof bytes)) == 0)
        grant_writer_add(w, "jti", buf_slice(&text));
    buf_done(&text);
}

static void add_claims(struct grant_writer *w, enum assertion_role role, const struct credential_spec *spec,
                       const struct key_file *key, int64_t now_s)
{
    const struct credential_spec_assertion *a = &spec->assertion;
    struct slice client = slice_str(spec->client_id);
    struct slice issuer =
        role == ASSERTION_CLIENT ? client : first_of(slice_str(a->issuer), first_of(key->account, client));
    struct slice subject = client;
    if (role != ASSERTION_CLIENT)
        subject = first_of(slice_str(a->subject), key->root ? SLICE("") : issuer);
    grant_writer_add(w, "iss", issuer);
    if (role != ASSERTION_GITHUB) {
        grant_writer_add(w, "sub", subject);
        grant_writer_add(w, "aud", first_of(slice_str(a->audience), slice_str(spec->token_url)));
        add_jti(w);
    }
    add_times(w, role, spec, now_s);
    if (role == ASSERTION_GRANT && key->root)
        grant_writer_add(w, "scope", slice_str(spec->scope));
    for (size_t i = 0; role != ASSERTION_CLIENT && i < a->claim_count; i++)
        grant_writer_add(w, a->claims[i].name, slice_str(a->claims[i].value));
}

int assertion_add(enum assertion_role role, const struct credential_spec *spec, const struct assertion_signer *by,
                  struct buf *out, bool *ret_scoped, struct err *e)
{
    struct key_file key;
    struct buf claims;
    if (key_file_read(by->key, &key, e) != 0)
        return -1;
    buf_init(&claims, ASSERTION_MAX / 2);
    struct grant_writer w = { .as = GRANT_BODY_JSON, .out = &claims };
    add_claims(&w, role, spec, &key, by->now_wall_s);
    grant_writer_end(&w);
    struct jws_key signer = { key.pem, spec->assertion.alg, first_of(slice_str(spec->assertion.kid), key.kid),
                              by->certificate };
    int failed = w.failed ? err_set(e, "the assertion is too long") : jws_sign(&signer, buf_slice(&claims), out, e);
    if (!failed && ret_scoped)
        *ret_scoped = role == ASSERTION_GRANT && key.root;
    buf_done(&claims);
    key_file_done(&key);
    return failed;
}

static int check_issuer(const struct credential_spec *spec, struct slice text, struct err *e)
{
    struct key_file key;
    if (key_file_read(text, &key, e) != 0)
        return -1;
    bool named = spec->assertion.issuer || spec->client_id || key.account.len;
    key_file_done(&key);
    return named ? 0
                 : err_set(e, "this key is PEM, which names no account: give the JSON key file, or client_id, or "
                              "assertion.issuer");
}

int assertion_check(const struct credential_spec *spec, const struct assertion_signer *by, struct err *e)
{
    enum assertion_role role = spec->grant == GRANT_JWT_BEARER ? ASSERTION_GRANT : ASSERTION_CLIENT;
    struct buf out;
    buf_init_secret(&out, ASSERTION_MAX);
    int failed = assertion_add(role, spec, by, &out, NULL, e);
    if (!failed && role == ASSERTION_GRANT)
        failed = check_issuer(spec, by->key, e);
    buf_done(&out);
    return failed;
}
