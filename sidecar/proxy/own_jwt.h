/* proxy/own_jwt.h: JWTs by the key of the key files that sidekey writes for programs (crypto/throwaway.h).   Pure.
 * Some programs exchange one for a token (proxy/answer.h), others send it to the API itself, as Google's client
 * libraries do: there it stands for the placeholder of its credential. */
#ifndef SIDEKEY_PROXY_OWN_JWT_H
#define SIDEKEY_PROXY_OWN_JWT_H

#include "proxy/answer_params.h"
#include "proxy/rule.h"

/* Who signs in those files: "NAME@…" of the credential. */
#define OWN_JWT_ACCOUNT_SUFFIX "@sidekey.iam.gserviceaccount.com"

/* It is by that key (RS256, PS256).  public_der empty: nothing is. */
bool own_jwt_is_signed(struct slice public_der, const struct answer_jwt *jwt);
/* It has an end (exp), which is not over; clocks may differ by five minutes. */
bool own_jwt_is_alive(const struct answer_jwt *jwt, int64_t now_s);
/* issuer is the account of that credential. */
bool own_jwt_names(struct slice issuer, const char *credential);

struct own_jwt_key {
    struct slice public_der;
    const struct rule *rules; /* those that answer know the placeholders of their credentials */
    size_t rule_count;
};
/* A request whose one Authorization is such a JWT, of a credential whose token requests are answered, gets the
 * credential's placeholder in its place; any other stays as it is.  *ret: it did.  Returns 0; -ENOMEM, -ENOBUFS. */
MUST_CHECK int own_jwt_replace(const struct own_jwt_key *key, int64_t now_s, struct message *request, bool *ret);

#endif
