/* refresh/state.h: what is stored for one credential, and its JSON form (which is sealed before it touches a disk or Redis).   Pure.   Keeper only.
 * Unknown members of a stored document survive a rewrite (REFRESH.md A9).
 * Owner  whoever embeds it, through state_done(). */
#ifndef SIDEKEY_REFRESH_STATE_H
#define SIDEKEY_REFRESH_STATE_H

#include "base/err.h"
#include "base/buf.h"
#include "base/secret.h"

#include <jansson.h>

struct state {
    uint64_t generation;          /* 0: nothing */
    struct secret access_token;   /* may be empty */
    struct secret refresh_token;  /* may be empty (client_credentials) */
    struct secret alt_refresh;    /* the losing child of a double spend: one fallback try (B5) */
    int64_t expires_wall_ms;      /* absolute; 0: unknown */
    int64_t obtained_wall_ms;     /* when the answer came */
    int64_t refresh_in_ms;        /* hint of the server, a duration from obtained; 0: none */
    char refresh_fp[9];           /* fingerprint of the refresh token that was spent for this generation; "" if none */
    char dead_fp[9];              /* fingerprint of the refresh token that is known to be dead; "" if none */
    json_t *extra;                /* object: scope, token_type, instance_url, and members that we do not know; may be NULL */
};

void state_init(struct state *s);
void state_done(struct state *s);
MUST_CHECK int state_copy(struct state *to, const struct state *from);
/* Appends JSON to a secret buf.  0; -ENOMEM, -ENOBUFS. */
MUST_CHECK int state_write(const struct state *s, struct buf *out);
/* Replaces *s.  0; -1 with e. */
MUST_CHECK int state_read(struct state *s, struct slice json, struct err *e);

#endif
