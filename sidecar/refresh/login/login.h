/* refresh/login/login.h: a person signs in, and what came of it is stored: device code (RFC 8628), or authorization
 * code with PKCE and a redirect on loopback (RFC 6749 §4.1, RFC 7636, RFC 8252).   The process of sidekey login alone:
 * it sees the refresh token, and is hardened like a keeper first.
 *
 * A keeper that runs with the same configuration takes the result over a unix socket.  Without one, the store is opened
 * before anybody is asked, and the new state is committed under a lease: keepers of this machine and of others see it
 * as they see each other's commits, and their next refresh goes on from it. */
#ifndef SIDEKEY_REFRESH_LOGIN_LOGIN_H
#define SIDEKEY_REFRESH_LOGIN_LOGIN_H

#include "refresh/credential_spec.h"

#define LOGIN_REDIRECT "http://127.0.0.1/callback"
#define LOGIN_PATIENCE_MS 600000 /* for the browser; a device code has an end of its own */
#define LOGIN_ACCOUNT_MAX 128

enum login_way { LOGIN_AUTO, LOGIN_BROWSER, LOGIN_DEVICE };

struct login_progress { /* what a person is told; called from inside login_run(), texts are valid during the call */
    void (*browser)(void *arg, const char *url);
    /* whole_url has the code in it; NULL: none */
    void (*device)(void *arg, const char *url, const char *code, const char *whole_url);
    void (*waiting)(void *arg, int64_t left_ms); /* four times a second */
    void (*note)(void *arg, const char *text);   /* something went wrong, and sidekey goes on */
    void *arg;
};

struct login_options { /* borrowed */
    const struct keeper_options *keeper;
    const struct credential_spec *spec; /* credential_spec_has_login() */
    /* where a keeper that runs may be asked to take the result (login_message.h), NULL-terminated; NULL: nowhere */
    const char *const *keeper_sockets;
    enum login_way way; /* AUTO: a browser where there is one, else a device code where it is offered */
    bool has_browser;
    int paste_fd;        /* the URL that the browser was redirected to may be read here, one line; -1: no */
    int64_t patience_ms; /* for the browser */
    struct login_progress progress;
};

struct login_result {
    char account[LOGIN_ACCOUNT_MAX + 1]; /* of the ID token, printable, for display only; "": unknown */
    uint64_t generation;                 /* that was stored */
};

struct login_found { /* heap or NULL */
    char *issuer, *token_url, *client_id, *scope;
    struct secret client_secret; /* empty: none */
    bool secret_in_body;         /* client_auth: body */
};
/* Finds the authorization server of a protected resource (RFC 9728), and registers a client there (RFC 7591) unless
 * there is one.  Nothing is stored.  Exit status: 0; 64, 69, 71, 78 with e.  *ret: login_found_done() in any case. */
MUST_CHECK int login_register(const struct dial_options *network, const char *resource, bool has_client,
                              struct login_found *ret, struct err *e);
void login_found_done(struct login_found *f);

/* Blocks until it is done; runs the loop.  Exit status: 0; 69, 71, 74, 77, 78 with e, which never holds a secret. */
MUST_CHECK int login_run(const struct login_options *o, struct login_result *ret, struct err *e);
/* Revokes the refresh token where the server can (RFC 7009), then stores a state without tokens, which the configured
 * refresh token does not replace; a keeper that runs does it.  *ret_note: what a person is to know; "": nothing.  Exit
 * status as login_run(). */
MUST_CHECK int login_out(const struct login_options *o, struct err *ret_note, struct err *e);

#endif
