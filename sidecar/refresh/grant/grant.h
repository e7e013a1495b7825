/* refresh/grant/grant.h: a grant is a pair: build the token request, parse the answer.   No I/O, no clock, no log.
 * One file per grant (refresh_token.c, jwt_bearer.c, …); the answer is the same for all (grant_answer.c).
 * Source  RFC 6749 §2.3.1, §4.4, §5.1, §5.2, §6; RFC 7523; RFC 8693; RFC 8707; docs/refresh-rules.md §6. */
#ifndef SIDEKEY_REFRESH_GRANT_GRANT_H
#define SIDEKEY_REFRESH_GRANT_GRANT_H

#include "refresh/grant/grant_writer.h"

#include <jansson.h>

#define GRANT_REQUEST_MAX (512 * 1024) /* bytes of a body: a refresh token of 64 KiB, percent-encoded, fits */
#define GRANT_TOKEN_MAX 16384          /* an access token, as MSG_TOKEN_MAX */
#define GRANT_REFRESH_MAX 65536        /* a refresh token */
#define GRANT_CODE_MAX 64
#define GRANT_ANSWER_MAX (4 * 1024 * 1024) /* a response, also after decompression */
#define GRANT_WHY_BYTES 128
#define GRANT_SAID_MAX 160

/* What a request is made of besides the spec.  Borrowed; empty: not given. */
struct grant_secrets {
    struct slice client_secret;
    struct slice refresh_token;              /* grant refresh_token */
    struct slice signing_key;                /* assertion.key: PEM, or Google's JSON key file */
    struct slice certificate;                /* assertion.certificate: PEM */
    struct slice assertion;                  /* assertion.token: a ready-made JWT */
    struct slice subject_token, actor_token; /* grant token_exchange */
    int64_t now_wall_s;                      /* the server's time as far as known: "iat" of an assertion */
};

/* A request ready to be sent.  A zeroed struct is empty.  Owner  grant_build()'s caller, through grant_request_done().
 */
struct grant_request {
    const char *content_type;                   /* NULL: GET */
    struct buf body;                            /* secret */
    struct buf authorization;                   /* secret: value of the Authorization field; empty: none */
    const struct credential_spec_param *fields; /* more fields; the spec's, or static */
    size_t field_count;
};

enum grant_way {
    GRANT_BY_NOBODY, /* the token is read from its reference */
    GRANT_BY_POST,
    GRANT_BY_GET,
    GRANT_BY_COMMAND, /* refresh/fetch/command.h */
};

struct grant {
    const char *name;
    bool spends_refresh_token;
    enum grant_way way;
    /* the members that all OAuth requests share (client, scope, audience, resource, params) are grant_build()'s */
    bool oauth;
    /* Adds what is this grant's own.  0; -1 with e.  NULL: there is no request. */
    int (*add)(struct grant_writer *w, const struct credential_spec *spec, const struct grant_secrets *secrets,
               struct grant_request *r, struct err *e);
};

extern const struct grant grant_static, grant_refresh_token, grant_client_credentials, grant_jwt_bearer,
    grant_token_exchange, grant_github_app, grant_metadata, grant_command;

/* Never NULL. */
const struct grant *grant_of(enum grant_kind kind);
/* The request carries an assertion that is signed here: its times may be what a server refuses. */
bool grant_signs(const struct credential_spec *spec);
/* The client's id or secret has characters that Basic percent-encodes: many servers do not decode them. */
bool grant_encodes_client(const struct credential_spec *spec, const struct grant_secrets *secrets);
/* Fills *ret (which was empty).  0; -1 with e (a secret is missing, the key cannot sign, too large, out of memory):
 * *ret is empty then. */
MUST_CHECK int grant_build(const struct credential_spec *spec, const struct grant_secrets *secrets,
                           struct grant_request *ret, struct err *e);
/* The second request, spec->impersonate: {"scope", "lifetime"} with the first token as Bearer.  As grant_build(). */
MUST_CHECK int grant_build_impersonation(const struct credential_spec *spec, struct slice token,
                                         struct grant_request *ret, struct err *e);
/* A member of a request that is not a grant of its own. */
struct grant_member {
    const char *name;
    struct slice value; /* empty: left out */
};
/* Another request to the same server: these members and the client's authentication.  token_request: it goes to
 * token_url, in the spec's own encoding and with its params; else it is a form.  Codes (RFC 6749 §4.1.3, RFC 8628
 * §3.4), device authorization (RFC 8628 §3.1), revocation (RFC 7009 §2.1).  As grant_build(). */
MUST_CHECK int grant_build_members(const struct credential_spec *spec, const struct grant_secrets *secrets,
                                   const struct grant_member *members, size_t count, bool token_request,
                                   struct grant_request *ret, struct err *e);
void grant_request_done(struct grant_request *r);

enum grant_result {
    GRANT_TOKEN,  /* a usable access token */
    GRANT_ERROR,  /* the server said no: code */
    GRANT_BROKEN, /* neither: empty, cut, HTML, no token in it, a token that no header may carry */
};

/* A zeroed struct is empty.  Owner  grant_answer_parse()'s caller, through grant_answer_done(). */
struct grant_answer {
    struct secret access_token;
    struct secret refresh_token;   /* empty: none, keep the old one (RFC 6749 §6) */
    int64_t lifetime_ms;           /* from the moment of the answer; 0: not given */
    int64_t expires_wall_ms;       /* given as a point in time; 0: not given */
    int64_t refresh_in_ms;         /* 0: none */
    int64_t refresh_lifetime_ms;   /* of the refresh token; 0: not given, or without end */
    json_t *extra;                 /* every other member, secrets of the protocol left out; NULL: none */
    char code[GRANT_CODE_MAX + 1]; /* GRANT_ERROR: [a-zA-Z0-9_.-], cut */
    /* what an error says beside its code: printable ASCII, cut; may quote what was sent (refresh/grant/refusal.h) */
    char said[GRANT_SAID_MAX + 1];
    bool html;
    bool whole;         /* the document has come to its end, whatever HTTP says of the body's */
    bool no_memory;     /* it may be well, and could not be read */
    bool refresh_unfit; /* a 2xx response has a refresh token that cannot be used: the one that was sent is gone */
};

/* What a token endpoint, or a program, has said.  Borrowed for the call. */
struct grant_input {
    int status; /* of HTTP; over 299 is never GRANT_TOKEN */
    struct slice body;
    bool cut;                           /* the end of the body is missing */
    const struct credential_spec *spec; /* which member is the token, and where; NULL: as RFC 6749 has it */
};

/* Reads a response: JSON, or form-encoded (sniffed, the Content-Type is not believed); compressed or not; leniently
 * where it is no JSON (grant_answer_lenient.c).  Fills *ret (which was empty). ret's refresh_token is the one of a 2xx
 * response in any case, also when the result is not GRANT_TOKEN: it has replaced the one that was spent.
 * why: GRANT_WHY_BYTES for people, names of members and never values; set when the result is not GRANT_TOKEN. */
enum grant_result grant_answer_parse(const struct grant_input *in, struct grant_answer *ret, char *why);
void grant_answer_done(struct grant_answer *a);
/* "exp" of a JWT as wall milliseconds (not verified: only a hint when to refresh); 0: no JWT, none, or nonsense. */
int64_t grant_answer_jwt_expiry(struct slice token);

#endif
