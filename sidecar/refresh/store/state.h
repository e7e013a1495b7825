/* refresh/store/state.h: what is stored for one credential, and its JSON form (which is sealed before it touches a disk
 * or Redis).   Pure.   Keeper only. Unknown members of a stored document survive a rewrite (rule 1.9b). The first
 * state_init() makes jansson wipe whatever it frees (json_safe.h): no token stays behind in a parsed tree, its lexer or
 * its dumps. Owner  whoever embeds it, through state_done(). */
#ifndef SIDEKEY_REFRESH_STORE_STATE_H
#define SIDEKEY_REFRESH_STORE_STATE_H

#include "base/err.h"
#include "base/buf.h"
#include "base/secret.h"

#include <jansson.h>
#include <stdbool.h>

#define STATE_MAX_BYTES                                                                                                \
    (8 * 1024 * 1024) /* of the JSON form: a token answer is at most 1 MiB, and JSON escapes grow it */
#define STATE_GENERATION_MAX (INT64_MAX - 1) /* JSON integers and Lua numbers end here */

#define STATE_TRIED_MAX 32 /* fingerprints */

struct state {
    uint64_t generation;         /* 0: nothing */
    struct secret access_token;  /* may be empty */
    struct secret refresh_token; /* may be empty (client_credentials) */
    struct secret alt_refresh;   /* the losing child of a double spend: one fallback try (rule 2.5d) */
    /* the refresh token that was spent for this generation, when the response brought another; kept for one generation,
     * should a lenient reading have been wrong */
    struct secret replaced_refresh;
    int64_t expires_wall_ms;  /* absolute; 0: unknown */
    int64_t obtained_wall_ms; /* when the answer came */
    int64_t refresh_in_ms;    /* hint of the server, a duration from obtained; 0: none */
    char refresh_fp[9];       /* fingerprint of the refresh token that was spent for this generation; "" if none */
    /* fingerprint of the configured refresh token that was spent last: it is never spent again; "" if none was */
    char seed_fp[9];
    char dead_fp[9]; /* fingerprint of the refresh token that is known to be dead; "" if none */
    /* fingerprint of one that is dead because nobody understood what it brought: it is spent, and its successor is in a
     * journal; "" if none */
    char unread_fp[9];
    int64_t dead_wall_ms; /* when the server said so last; 0: unknown */
    /* fingerprints of configured refresh tokens that were spent or refused, the newest last, a space between two: none
     * of them is sent again until it is forgotten by hand */
    char tried[STATE_TRIED_MAX * 9];
    int64_t refresh_expires_wall_ms; /* end of the refresh token; 0: unknown */
    /* object: scope, token_type, instance_url, and members that we do not know; may be NULL */
    json_t *extra;
};

/* Empty, generation 0; state_done() wipes the tokens and frees, and may be called again. */
void state_init(struct state *s);
void state_done(struct state *s);
/* Notes a configured refresh token as tried; of STATE_TRIED_MAX the oldest makes room.  "" is not noted. */
void state_add_tried(struct state *s, const char *fp);
bool state_has_tried(const struct state *s, const char *fp);
/* Deep; replaces *to (which is initialised).  0; -ENOMEM: *to is as it was. */
MUST_CHECK int state_copy(struct state *to, const struct state *from);
/* Appends JSON to a secret buf (cap: STATE_MAX_BYTES).  Writes every state that there can be, so that an answer is
 * never lost for its form: times are clamped to 0…year 9999, a token that is not plain ASCII becomes {"base64": …};
 * members of extra with one of our own names are left out. 0; -ENOMEM, -ENOBUFS: out keeps its length. */
MUST_CHECK int state_write(const struct state *s, struct buf *out);
/* Replaces *s (which is initialised).  Every member may be missing; one of ours with a wrong type or out of range is an
 * error. 0; -1 with e (which never quotes the text): *s is as it was. */
MUST_CHECK int state_read(struct state *s, struct slice json, struct err *e);

#endif
