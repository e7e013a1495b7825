/* refresh/spec.h: one credential as the config describes it: references, never values.   Plain data, filled by app/config.
 * Owner  the config; everything is heap or NULL, freed by spec_done(). */
#ifndef SIDEKEY_REFRESH_SPEC_H
#define SIDEKEY_REFRESH_SPEC_H

#include "base/secret_ref.h"
#include "net/dial.h"

enum grant_kind { GRANT_STATIC, GRANT_REFRESH_TOKEN, GRANT_CLIENT_CREDENTIALS };
enum client_auth { CLIENT_AUTH_BASIC, CLIENT_AUTH_BODY, CLIENT_AUTH_NONE };
enum grant_body { GRANT_BODY_FORM, GRANT_BODY_JSON };

struct spec_param {
    char *name, *value;
};

struct spec {
    char *name;                      /* [a-z0-9._-]{1,64}: the credential's id everywhere */
    enum grant_kind grant;
    char *token_url;                 /* https, or http on loopback */
    char *client_id, *scope, *audience;
    enum client_auth client_auth;
    enum grant_body body;
    struct secret_ref client_secret;
    struct secret_ref refresh_token; /* generation 0 */
    struct secret_ref token;         /* static */
    struct spec_param *params;
    size_t param_count;
    char *ca_file, *cert_file, *key_file; /* tls of the token endpoint */
    int64_t default_lifetime_ms;     /* when the answer gives none; 0: unknown */
    int64_t forced_floor_ms;         /* at most one forced refresh per this; default 30 s (B10) */
    bool required;                   /* /readyz waits for it */
};

void spec_done(struct spec *s);

enum on_lock_error { ON_LOCK_ERROR_PROCEED, ON_LOCK_ERROR_WAIT, ON_LOCK_ERROR_FAIL };

struct keeper_options {
    const struct spec *specs; /* borrowed, as all below */
    size_t spec_count;
    const char *state_dir;    /* file engine; also journal and spool */
    struct secret_ref seal_key, seal_key_previous; /* none: a 0600 key is made in state_dir at the first start */
    enum on_lock_error on_lock_error;
    int64_t lease_ms;         /* default 60 s */
    struct dial_options network; /* overrides and address policy hold for token endpoints too */
    const char *ca_publish;   /* directory for ca.pem and bundle.pem; NULL: none */
    const char *const *permit_hosts;
    const char *ca_cert_file, *ca_key_file;
    const char *const *extra_roots; /* NULL-terminated; put into bundle.pem */
    int vault_fd;             /* memfd that keeps a made CA over the death of a keeper; -1: none */
    int64_t request_timeout_ms; /* of one token request; default 30 s, always below lease_ms */
};

#endif
