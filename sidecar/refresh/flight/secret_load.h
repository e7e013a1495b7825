/* refresh/flight/secret_load.h: the secrets that one request is made of, read beside the loop.   Keeper only.
 * Files, variables and inline values are read at once; commands and fetches run together,
 * SECRET_REF_COMMAND_MS for each, and nothing waits for them but their own flight. Owner  whoever embeds it, zeroed at
 * birth, through secret_load_stop(), at any time. */
#ifndef SIDEKEY_REFRESH_FLIGHT_SECRET_LOAD_H
#define SIDEKEY_REFRESH_FLIGHT_SECRET_LOAD_H

#include "base/secret_ref.h"
#include "refresh/fetch/command.h"
#include "refresh/fetch/fetch.h"

#define SECRET_LOAD_MAX 6

/* error NULL: all are there.  Else one could not be had (names the reference, never the value; valid during the call),
 * and none is there. */
typedef void secret_load_fn(void *arg, const char *error);

struct secret_load {
    struct fetch *fetch; /* the owner's, set before a start; NULL: nothing can be fetched */
    struct secret_load_one {
        struct secret_load *all;
        const struct secret_ref *ref;
        struct secret secret;
        struct command *command; /* runs */
        struct fetch_job *job;   /* is under way */
    } ones[SECRET_LOAD_MAX];
    size_t count, running;
    secret_load_fn *fn;
    void *arg;
};

enum secret_load_result {
    SECRET_LOAD_THERE,   /* all were to be had at once; fn is not called */
    SECRET_LOAD_RUNNING, /* fn is called once, later, never from inside this call */
    SECRET_LOAD_FAILED,  /* e says why; none is there */
};

/* Reads refs anew (a projected token or a key may have been replaced); SECRET_REF_NONE gives an empty one.  count <=
 * SECRET_LOAD_MAX. refs[i]: borrowed until the end. */
MUST_CHECK enum secret_load_result secret_load_start(struct secret_load *g, const struct secret_ref *const *refs,
                                                     size_t count, secret_load_fn *fn, void *arg, struct err *e);
/* Borrowed until secret_load_stop() or the next start. */
struct slice secret_load_secret(const struct secret_load *g, size_t i);
/* Kills what runs, wipes what is there; fn will not be called. */
void secret_load_stop(struct secret_load *g);

#endif
