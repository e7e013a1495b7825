/* proxy/answer_params.h: the parameters of a token request, and JWTs in it.   Pure.   Owner  the caller. */
#ifndef SIDEKEY_PROXY_ANSWER_PARAMS_H
#define SIDEKEY_PROXY_ANSWER_PARAMS_H

#include <jansson.h>

#include "http/message.h"

#define ANSWER_PARAMS_MAX 64

/* A form or a JSON object as an object; a body of no bytes is an empty one; Basic credentials become client_id and
 * client_secret where the body has none (RFC 6749 §2.3.1).  NULL with *ret_wrong (static text): it is neither, a name
 * comes twice, it has a content coding, more than ANSWER_PARAMS_MAX members, or memory is out. */
MUST_CHECK json_t *answer_params_read(const struct message *request, struct slice body, const char **ret_wrong);
/* The text of a parameter; empty: there is none. */
struct slice answer_params_text(const json_t *params, const char *name);

struct answer_jwt {
    struct slice signed_text; /* borrowed */
    struct buf signature;
    json_t *header, *claims;
};

/* false: text is no compact JWS with two JSON objects.  Release it with answer_params_jwt_done() in both cases. */
bool answer_params_jwt_read(struct slice text, struct answer_jwt *ret);
void answer_params_jwt_done(struct answer_jwt *jwt);

#endif
