/* base/secret_ref.h: where a secret comes from: {file: …}, {env: …}, {command: […]} or, when allowed, inline.
 * The supervisor and the workers hold references only; only the keeper calls secret_ref_read(). Exceptions, which
 * workers read: the password of the parent proxy (net/dial/parent.h) and those of the clients (proxy/access.h). Owner
 * the struct that embeds it, through secret_ref_done().  A zeroed struct means "not given". */
#ifndef SIDEKEY_BASE_SECRET_REF_H
#define SIDEKEY_BASE_SECRET_REF_H

#include "base/err.h"
#include "base/secret.h"

enum secret_ref_kind {
    SECRET_REF_NONE,
    SECRET_REF_FILE,
    SECRET_REF_ENV,
    SECRET_REF_COMMAND,
    SECRET_REF_INLINE,
    SECRET_REF_HTTP,       /* fetched: refresh/flight/secret_load.c knows it */
    SECRET_REF_CREDENTIAL, /* the token of another credential: its own readers know it (refresh/account_chain.c) */
};

struct secret_ref {
    enum secret_ref_kind kind;
    char *name;  /* path, variable, inline value, or credential; heap */
    char **argv; /* SECRET_REF_COMMAND: NULL-terminated, heap; SECRET_REF_HTTP: the texts below */
};
/* What argv has for SECRET_REF_HTTP; "" where nothing is given. */
enum secret_http {
    SECRET_HTTP_URL,         /* of a GET, or … */
    SECRET_HTTP_URL_ENV,     /* … the variable that has it */
    SECRET_HTTP_QUERY,       /* added to the URL */
    SECRET_HTTP_POINTER,     /* place in the JSON of the response (RFC 6901); "": all of it is the secret */
    SECRET_HTTP_BEARER_ENV,  /* the variable, or … */
    SECRET_HTTP_BEARER_FILE, /* … the file of the token that the request carries */
    SECRET_HTTP_TEXTS
};

#define SECRET_REF_MAX_BYTES (64 * 1024)
#define SECRET_REF_COMMAND_MS 10000

/* Reads the secret now: CR, LF and the byte order mark of UTF-8 at both ends are dropped; empty or over
 * SECRET_REF_MAX_BYTES is an error.
 * A file is a regular one that only root and our user can have written (base/trusted_file.h).  A command runs without a
 * shell, stdin from /dev/null, at most 10 s (it blocks: at the start only; refresh/flight/secret_load.h runs it beside
 * the loop). Returns 0; -1 with e naming the reference (never the value).
 */
MUST_CHECK int secret_ref_read(const struct secret_ref *ref, struct secret *ret, struct err *e);
/* What ref's source has given becomes the secret, by the same rules.  Returns as secret_ref_read(). */
MUST_CHECK int secret_ref_take(const struct secret_ref *ref, struct slice bytes, struct secret *ret, struct err *e);
/* As secret_ref_read(), but only one newline at the end is dropped: for keys, which may hold any bytes. */
MUST_CHECK int secret_ref_read_exact(const struct secret_ref *ref, struct secret *ret, struct err *e);
/* value came from ref: may it be a token or a client secret (VSCHAR, RFC 6749 App. A)?  Returns 0; -1 with e, which
 * names ref and the position, never the byte. */
MUST_CHECK int secret_ref_check_vschar(const struct secret_ref *ref, struct slice value, struct err *e);
/* For messages: "file /run/secrets/x", "env NAME", "command /bin/x".  Returns text, cut at size. */
const char *secret_ref_text(const struct secret_ref *ref, char *text, size_t size);
void secret_ref_done(struct secret_ref *ref);

#endif
