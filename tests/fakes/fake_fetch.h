/* tests/fakes/fake_fetch.h: a token endpoint that answers when the test says so. */
#ifndef SIDEKEY_TESTS_FAKE_FETCH_H
#define SIDEKEY_TESTS_FAKE_FETCH_H

#include "refresh/fetch/fetch.h"

struct fake_fetch {
    int starts, cancels;
    bool pending, refuse; /* refuse: fetch_start() fails */
    char body[4096];      /* of the last request */
    int64_t timeout_ms;
    fetch_fn *fn;
    void *arg;
};

extern struct fake_fetch fake_fetch;

/* Answers the pending request. */
void fake_fetch_say(int status, const char *body);
/* … with Retry-After. */
void fake_fetch_say_later(int status, const char *body, const char *retry_after);
/* A redirect to this host. */
void fake_fetch_redirect(int status, const char *host);
/* No answer: sent or not. */
void fake_fetch_fail(bool sent, const char *error);

#endif
