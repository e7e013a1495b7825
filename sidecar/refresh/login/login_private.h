/* refresh/login/login_private.h: inside the login, for login*.c only.
 * login.c has the steps; login_fetch.c one request, waited for; login_discover.c where the endpoints are;
 * login_register.c becomes a client;
 * login_device.c and login_browser.c bring the code; login_redeem.c spends it; login_claims.c reads what came;
 * login_keeper.c gives what came to the keeper that runs, or login_store.c commits it.  Everything blocks by running
 * the loop. */
#ifndef SIDEKEY_REFRESH_LOGIN_LOGIN_PRIVATE_H
#define SIDEKEY_REFRESH_LOGIN_LOGIN_PRIVATE_H

#include "refresh/fetch/fetch.h"
#include "refresh/login/client_secrets.h"
#include "refresh/login/login.h"
#include "refresh/stores.h"

struct login_endpoints { /* heap or NULL */
    char *authorization, *device, *revocation;
    bool names_issuer; /* the response to the browser has iss (RFC 9207) */
};

struct login {
    const struct login_options *options;
    const struct credential_spec *spec;
    struct stores stores;
    const char *keeper; /* the socket of the one that takes the result; NULL: the store is opened here */
    struct fetch *fetch;
    struct secret_load secrets; /* those before CREDENTIAL_REFRESH_TOKEN */
    struct secret seed;         /* the configured refresh token; empty: none, or it cannot be read */
    struct login_endpoints endpoints;
    struct state state; /* as it is stored */
};

/* One response, or none. */
struct login_response {
    int status; /* 0: none */
    bool sent, cut;
    struct buf body; /* secret */
    int64_t date_s;  /* the server's; 0: none */
    char error[256];
    char challenge[1024]; /* WWW-Authenticate; "": none */
};

/* The code, and what goes with it to the token endpoint. */
struct login_code {
    const char *grant_type; /* a constant */
    const char *member;     /* that the code goes into */
    struct secret code, verifier;
    char *redirect_uri; /* NULL: none */
};

/* login_fetch.c */
/* Runs the loop until *done. */
void login_wait(const bool *done);
/* Runs the loop for ms. */
void login_sleep(int64_t ms);
/* 0, with ret (which was empty); -1 with e: not even a request. */
MUST_CHECK int login_fetch(struct login *l, const struct fetch_request *request, struct login_response *ret,
                           struct err *e);
/* GETs a document of at most 256 KiB.  *ret: the caller's; NULL: it is not there, or is no JSON, or has a name twice.
 * Exit status. */
MUST_CHECK int login_fetch_json(struct login *l, const char *url, json_t **ret, struct err *e);
/* POSTs what grant_build_members() makes of members. */
MUST_CHECK int login_post(struct login *l, const char *url, const struct grant_member *members, size_t count,
                          struct login_response *ret, struct err *e);
void login_response_done(struct login_response *r);
/* Says in e what a response without success said.  url: whose.  Returns EX_UNAVAILABLE. */
int login_refused(const char *url, const struct login_response *r, struct err *e);

/* Runs the loop until *done (NULL: never), at most until until_ms, and tells the person how long there is until end_ms.
 * true: done. */
bool login_wait_shown(struct login *l, const bool *done, int64_t until_ms, int64_t end_ms);

/* login.c: from the token request to the commit nobody at the terminal may end this process by chance. */
void login_hold_signals(bool hold);

/* login_discover.c */
/* A URL that a server names must be as safe as one that an operator writes: https, and loopback only when the server
 * (from_url) is there itself. */
bool login_may_name(const char *from_url, const char *url);
/* The metadata of an issuer (RFC 8414, OpenID Connect Discovery §4), of which only the issuer was judged (RFC 8414
 * §3.3: that of another one would lead the code elsewhere).  *ret: the caller's in any case.  Exit status. */
MUST_CHECK int login_metadata(struct login *l, const char *issuer, json_t **ret, struct err *e);
bool login_has_word(const json_t *list, const char *word);
/* Fills l->endpoints.  Exit status. */
MUST_CHECK int login_discover(struct login *l, struct err *e);

/* login_device.c, login_browser.c: exit status; with 0 *ret is filled.  The device's is redeemed where it is polled. */
MUST_CHECK int login_device(struct login *l, struct login_response *ret, struct err *e);
MUST_CHECK int login_browser(struct login *l, struct login_code *ret, struct err *e);
void login_code_done(struct login_code *c);

/* login_redeem.c */
/* Sends the token request.  Exit status; 0: *ret is what came, whatever it says. */
MUST_CHECK int login_redeem(struct login *l, const struct login_code *code, struct login_response *ret, struct err *e);
/* Reads a successful token response.  Exit status: 0; 69 with e (no refresh token, nothing that can be read). */
MUST_CHECK int login_read(const struct login *l, const struct login_response *r, struct grant_answer *ret,
                          struct err *e);

/* login_claims.c */
/* The tokens are for this client, of this issuer, and for this resource, as far as they say.  Exit status: 0; 69 with
 * e.  body: the token response. */
MUST_CHECK int login_check_audience(const struct credential_spec *s, struct slice body, struct slice access_token,
                                    struct err *e);
/* The account that the ID token of a token response names; "" when there is none. */
void login_account(struct slice body, char text[LOGIN_ACCOUNT_MAX + 1]);

/* login_store.c */
/* Reads what is stored into l->state, so that a store that cannot be used is known before anybody is asked.  Exit
 * status. */
MUST_CHECK int login_load(struct login *l, struct err *e);
/* Commits, under a lease, what make() says of the state that is stored at that moment.  Waits for other holders.  Exit
 * status. */
typedef int login_make_fn(struct login *l, const struct state *parent, void *arg, struct state *ret);
MUST_CHECK int login_commit(struct login *l, login_make_fn *make, void *arg, uint64_t *ret_generation, struct err *e);
/* Root writes as the user whose state directory it is.  Exit status. */
MUST_CHECK int login_become_owner(const char *state_dir, struct err *e);

/* login_keeper.c */
/* Is there a keeper that would take it?  Sets l->keeper. */
bool login_find_keeper(struct login *l);
/* Has it revoke and forget what is stored.  Exit status. */
MUST_CHECK int login_forget(struct login *l, struct err *ret_note, struct err *e);
/* Gives it the token response; waits for a keeper that is just being replaced.  Exit status. */
MUST_CHECK int login_hand_over(struct login *l, const struct login_response *r, int64_t wall_ms,
                               uint64_t *ret_generation, struct err *e);

#endif
