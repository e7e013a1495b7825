#include "proxy/own_jwt.h"

#include "crypto/throwaway.h"

#define SKEW_S 300 /* a program's clock may be so wrong */
#define JWT_MAX 8192

static const struct slice authorization = { "authorization", sizeof "authorization" - 1 };

bool own_jwt_is_signed(struct slice public_der, const struct answer_jwt *jwt)
{
    struct slice alg = answer_params_text(jwt->header, "alg");
    bool pss = slice_eq(alg, SLICE("PS256"));
    return public_der.len && (pss || slice_eq(alg, SLICE("RS256")))
           && throwaway_signed(public_der, pss, jwt->signed_text, buf_slice(&jwt->signature));
}

bool own_jwt_is_alive(const struct answer_jwt *jwt, int64_t now_s)
{
    const json_t *end = json_object_get(jwt->claims, "exp");
    return json_is_number(end) && json_number_value(end) >= (double)(now_s - SKEW_S);
}

bool own_jwt_names(struct slice issuer, const char *credential)
{
    struct slice name = slice_str(credential);
    return slice_starts(issuer, name) && slice_eq(slice_skip(issuer, name.len), SLICE(OWN_JWT_ACCOUNT_SUFFIX));
}

/* The placeholder of the credential that the JWT names, or NULL. */
static const char *placeholder_of(const struct own_jwt_key *key, const struct answer_jwt *jwt)
{
    struct slice issuer = answer_params_text(jwt->claims, "iss");
    for (const struct rule *r = key->rules; r < key->rules + key->rule_count; r++)
        if (r->answer && r->answered.any && own_jwt_names(issuer, r->credential))
            return r->answered.any;
    return NULL;
}

static int put(struct message *request, const char *placeholder)
{
    struct buf value;
    buf_init(&value, WHEN_VALUE_MAX);
    int failed = buf_add_str(&value, "Bearer ");
    if (!failed)
        failed = buf_add_str(&value, placeholder);
    if (!failed)
        failed = message_set(request, authorization, buf_slice(&value));
    buf_done(&value);
    return failed;
}

int own_jwt_replace(const struct own_jwt_key *key, int64_t now_s, struct message *request, bool *ret)
{
    size_t count;
    struct answer_jwt jwt;
    struct slice text, scheme = slice_cut(slice_trim(message_get(request, authorization, &count)), ' ', &text);
    const char *placeholder = NULL;
    *ret = false;
    text = slice_trim(text);
    if (!key->public_der.len || count != 1 || !slice_ieq(scheme, SLICE("Bearer")) || text.len > JWT_MAX
        || !slice_starts(text, SLICE("ey"))) /* {" in base64 */
        return 0;
    /* the signature last: it costs most */
    if (answer_params_jwt_read(text, &jwt) && own_jwt_is_alive(&jwt, now_s) && (placeholder = placeholder_of(key, &jwt))
        && !own_jwt_is_signed(key->public_der, &jwt))
        placeholder = NULL;
    answer_params_jwt_done(&jwt);
    *ret = placeholder;
    return placeholder ? put(request, placeholder) : 0;
}
