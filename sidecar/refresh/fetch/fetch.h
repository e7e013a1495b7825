/* refresh/fetch/fetch.h: one request to a token endpoint: libcurl's multi interface on the loop.   Keeper only; the one
 * user of libcurl. No redirects, no proxy but network.parent_proxy (never the environment's), no cookies; verified TLS;
 * a response is capped at 4 MiB; the address that is dialled is judged. tests/fakes/fake_fetch.c takes this file's
 * place in unit tests.   Source  rules 2.16a and 2.16b; curl multi_socket(3). */
#ifndef SIDEKEY_REFRESH_FETCH_FETCH_H
#define SIDEKEY_REFRESH_FETCH_FETCH_H

#include "net/dial/dial.h"
#include "refresh/credential_spec.h"
#include "refresh/fetch/fetch_url.h"

#define FETCH_ANSWER_MAX (4 * 1024 * 1024)
#define FETCH_CONNECT_MS 10000

struct fetch;
struct fetch_job;

struct fetch_request {          /* borrowed for the call of fetch_start() */
    const char *url;            /* https, or http on loopback; with metadata also http to a metadata server */
    const char *content_type;   /* of a POST; NULL: GET */
    struct slice authorization; /* field value; empty: none */
    struct slice body;
    const char *ca_file;              /* added to the system's roots, lives as long as the job; NULL: none */
    const char *cert_file, *key_file; /* client certificate; NULL: none */
    int64_t timeout_ms;               /* in all; what has arrived by the end is read first, however late we are */
    const struct credential_spec_param *fields; /* more header fields */
    size_t field_count;
    bool metadata; /* link-local addresses are allowed, for this request alone */
};

struct fetch_answer {
    int status;               /* 0: no response, or not even its head; then error says why */
    bool sent;                /* bytes of the request may have reached the server */
    struct slice body;        /* valid during the call; wiped after it.  As it came: maybe compressed */
    bool cut;                 /* the body's end is not where HTTP says; body is what came, and error says why */
    bool capped;              /* … because of our own limit: asked again, the server would say the same */
    struct slice retry_after; /* field value; empty: none */
    struct slice challenge;   /* WWW-Authenticate, of several the first; cut at 1 KiB; empty: none */
    int64_t date_s;           /* the server's Date, seconds since 1970; 0: none */
    const char *redirect; /* of a 3xx: "host:port" that it leads to, never more of the URL; NULL: none, or unreadable */
    const char *error;    /* for people; no secret */
};

typedef void fetch_fn(void *arg, const struct fetch_answer *answer);

/* options: address policy, overrides and parent proxy, borrowed for the life of the fetch; the parent's password is
 * read now.  NULL with e. */
MUST_CHECK struct fetch *fetch_new(const struct dial_options *options, struct err *e);
/* Cancels what is under way.  Accepts NULL. */
void fetch_free(struct fetch *f);
/* fn is called once, later, never from inside this call.  NULL with e: bad URL, unreadable certificate, out of memory
 * (nothing was sent). */
MUST_CHECK struct fetch_job *fetch_start(struct fetch *f, const struct fetch_request *request, fetch_fn *fn, void *arg,
                                         struct err *e);
/* fn will not be called.  Accepts NULL. */
void fetch_cancel(struct fetch_job *job);

/* "libcurl/7.88.1 OpenSSL/3.0 …", for version reports; "libcurl: not found" when it cannot be loaded. */
const char *fetch_library(void);

#endif
