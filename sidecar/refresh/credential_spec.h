/* refresh/credential_spec.h: one credential as the config describes it: references, never values.   Plain data, filled
 * by app/config. Owner  the config; everything is heap or NULL, freed by credential_spec_done(). */
#ifndef SIDEKEY_REFRESH_CREDENTIAL_SPEC_H
#define SIDEKEY_REFRESH_CREDENTIAL_SPEC_H

#include "base/secret_ref.h"
#include "crypto/jws.h"
#include "net/dial/dial.h"

enum grant_kind {
    GRANT_STATIC,
    GRANT_REFRESH_TOKEN,
    GRANT_CLIENT_CREDENTIALS,
    GRANT_JWT_BEARER,
    GRANT_TOKEN_EXCHANGE,
    GRANT_GITHUB_APP,
    GRANT_METADATA,
    GRANT_COMMAND,
};
enum client_auth {
    CLIENT_AUTH_BASIC,
    CLIENT_AUTH_BASIC_RAW, /* without percent-encoding: what many servers take for Basic */
    CLIENT_AUTH_BODY,
    CLIENT_AUTH_NONE,
    CLIENT_AUTH_PRIVATE_KEY_JWT
};
enum grant_body { GRANT_BODY_FORM, GRANT_BODY_JSON };

struct credential_spec_param {
    char *name, *value;
};

/* A JWT that stands for the client or for whom it acts: signed here with key, or read ready-made from token (a
 * projected service-account token). */
struct credential_spec_assertion {
    struct secret_ref key; /* PEM, or Google's JSON key file, which also says issuer and kid */
    struct secret_ref token;
    struct secret_ref certificate; /* PEM, of key: named in the header by its sums (RFC 7515 §4.1.7, §4.1.8) */
    enum jws_alg alg;
    char *kid, *issuer, *subject, *audience; /* NULL: see grant/assertion.h */
    struct credential_spec_param *claims;    /* more of them */
    size_t claim_count;
    int64_t lifetime_ms; /* 0: the grant's own */
};

/* A second request that turns the first token into another one (Google's generateAccessToken). */
struct credential_spec_impersonate {
    char *url;   /* NULL: there is none */
    char *scope; /* separated by spaces */
    int64_t lifetime_ms;
};

/* Where a provider's responses have what RFC 6749 §5.1 has at the top: JSON pointers (RFC 6901).  NULL: the usual
 * places.
 */
struct credential_spec_response {
    char *access_token, *refresh_token, *expires_in;
};

/* How a person signs in (sidekey login): RFC 6749 §4.1 with RFC 7636, or RFC 8628.  NULL: not configured. */
struct credential_spec_login {
    char *issuer; /* its metadata (RFC 8414, OpenID Connect Discovery) names the endpoints that are NULL */
    char *authorization_url, *device_authorization_url, *revocation_url;
    char *scope;                          /* NULL: the credential's */
    char *redirect_url;                   /* http on loopback; NULL: LOGIN_REDIRECT.  Without a port: a random one */
    struct credential_spec_param *params; /* more parameters of the authorization request */
    size_t param_count;
};

struct credential_spec {
    char *name;   /* [a-z0-9._-]{1,64}: the credential's id everywhere */
    char *preset; /* that filled in what the file does not say; NULL: none */
    enum grant_kind grant;
    char *token_url; /* https, or http on loopback; grant metadata: also http to a metadata server */
    char *client_id, *scope, *audience, *resource;
    enum client_auth client_auth;
    enum grant_body body;
    struct secret_ref client_secret;
    struct secret_ref refresh_token;              /* generation 0 */
    struct secret_ref token;                      /* static */
    struct credential_spec_assertion assertion;   /* jwt_bearer, github_app, client_auth private_key_jwt */
    struct secret_ref subject_token, actor_token; /* token_exchange: read anew at each exchange */
    char *subject_token_type, *actor_token_type, *requested_token_type; /* NULL: type of a JWT; left out */
    struct credential_spec_impersonate impersonate;
    struct credential_spec_response response;
    struct credential_spec_login login;
    bool id_token;      /* the response's id_token is the token that is wanted */
    char *installation; /* grant github_app: token_url follows from it */
    char **command;     /* grant command: program and arguments, NULL-terminated */
    struct credential_spec_param *params;
    size_t param_count;
    struct credential_spec_param *headers; /* more fields of the token request */
    size_t header_count;
    char *ca_file, *cert_file, *key_file; /* tls of the token endpoint */
    int64_t default_lifetime_ms;          /* when the answer gives none; 0: unknown */
    int64_t forced_floor_ms;              /* at most one forced refresh per this; default 30 s (rule 2.10b) */
    bool required;                        /* /readyz waits for it */
    enum { PLACEHOLDER_OFF, PLACEHOLDER_AUTO } placeholder; /* what programs send in place of the token is made by us */
    char *placeholder_format;     /* "ghp_{36}" (app/config/placeholders.h); NULL: of no provider */
    char **placeholder_variables; /* of a program's environment, which take it; NULL-terminated; NULL: none */
    enum placeholder_file {
        PLACEHOLDER_FILE_NONE,
        PLACEHOLDER_FILE_GOOGLE_SERVICE_ACCOUNT,
        PLACEHOLDER_FILE_GOOGLE_USER,
        PLACEHOLDER_FILE_CERTIFICATE,
        PLACEHOLDER_FILE_KEY
    } placeholder_file;                /* a key file for programs that insist on one (app/cmd/key_files.h) */
    char **placeholder_file_variables; /* which take its path; NULL-terminated; NULL: none */
    char *placeholder_text;            /* derived; NULL: not yet */
};

/* Every secret of a credential: the one list of them.  Those before CREDENTIAL_REFRESH_TOKEN make up a token request,
 * the others are what a chain of tokens begins with. */
enum credential_secret {
    CREDENTIAL_CLIENT_SECRET,
    CREDENTIAL_SIGNING_KEY,
    CREDENTIAL_CERTIFICATE,
    CREDENTIAL_ASSERTION,
    CREDENTIAL_SUBJECT_TOKEN,
    CREDENTIAL_ACTOR_TOKEN,
    CREDENTIAL_REFRESH_TOKEN,
    CREDENTIAL_STATIC_TOKEN,
    CREDENTIAL_SECRETS
};
/* Where s keeps it; kind SECRET_REF_NONE: not configured. */
struct secret_ref *credential_spec_secret(struct credential_spec *s, enum credential_secret which);
/* The same, to read only. */
const struct secret_ref *credential_spec_secret_of(const struct credential_spec *s, enum credential_secret which);
/* A person can sign in. */
bool credential_spec_has_login(const struct credential_spec *s);
/* Frees what s has; s itself is the caller's. */
void credential_spec_done(struct credential_spec *s);

enum on_lock_error { ON_LOCK_ERROR_PROCEED, ON_LOCK_ERROR_WAIT, ON_LOCK_ERROR_FAIL };

struct redis_spec { /* store.redis; everything is heap or NULL, freed by credential_spec_redis_done() */
    char *url;      /* redis_url.h; NULL: no Redis, the file engine */
    char *username; /* before the one in the URL */
    struct secret_ref password;
    char *ca_file, *cert_file, *key_file; /* rediss:// */
    char *sentinel_master;                /* NULL: no sentinels */
    char **sentinel_nodes;                /* "host:port", NULL-terminated */
    char *sentinel_username;
    struct secret_ref sentinel_password;
};

/* Frees what r has; r itself is the caller's. */
void credential_spec_redis_done(struct redis_spec *r);

struct keeper_options {
    const struct credential_spec *specs; /* borrowed, as all below */
    size_t spec_count;
    const struct redis_spec *redis;                /* NULL, or without a url: the file engine in state_dir */
    const char *state_dir;                         /* file engine; also journal and spool */
    struct secret_ref seal_key, seal_key_previous; /* none: a 0600 key is made in state_dir at the first start */
    enum on_lock_error on_lock_error;
    int64_t lease_ms;                /* default 60 s */
    struct dial_options network;     /* overrides and address policy hold for token endpoints too */
    const char *ca_publish;          /* directory for ca.pem and bundle.pem; NULL: none */
    const char *const *permit_hosts; /* of the rules, NULL-terminated: leaves are signed for these; NULL: for any */
    bool ca_constrain;               /* … and the CA's name constraints say so too */
    bool ca_keep;                    /* it outlives us, sealed in state_dir */
    bool ca_rsa;                     /* one with an RSA key beside it */
    const char *ca_cert_file, *ca_key_file;
    const char *const *extra_roots; /* NULL-terminated; put into bundle.pem */
    int ca_memfd;                   /* what an earlier keeper sent by MSG_CA; -1: nothing.  Borrowed */
    struct metrics_area *counters;  /* where it counts; NULL: nobody will see it.  Borrowed */
    int64_t request_timeout_ms;     /* of one token request; default 30 s, always below lease_ms */
};

#endif
