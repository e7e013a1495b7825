/* refresh/flight/gather.h: the secrets that one request is made of, read beside the loop.   Keeper only.
 * Files, variables and inline values are read at once; commands run together (refresh/fetch/command.h), SECRET_REF_COMMAND_MS for each, and nothing waits for
 * them but their own flight.
 * Owner  whoever embeds it, zeroed at birth, through gather_stop(), at any time. */
#ifndef SIDEKEY_REFRESH_FLIGHT_GATHER_H
#define SIDEKEY_REFRESH_FLIGHT_GATHER_H

#include "base/secret_ref.h"
#include "refresh/fetch/command.h"

#define GATHER_MAX 5

/* error NULL: all are there.  Else one could not be had (names the reference, never the value; valid during the call), and none is there. */
typedef void gather_fn(void *arg, const char *error);

struct gather {
    struct gather_one {
        struct gather *all;
        const struct secret_ref *ref;
        struct secret secret;
        struct command *command; /* runs */
    } ones[GATHER_MAX];
    size_t count, running;
    gather_fn *fn;
    void *arg;
};

enum gather_result {
    GATHER_THERE,   /* all were to be had at once; fn is not called */
    GATHER_RUNNING, /* fn is called once, later, never from inside this call */
    GATHER_FAILED,  /* e says why; none is there */
};

/* Reads refs anew (a projected token or a key may have been replaced); SECRET_REF_NONE gives an empty one.  count <= GATHER_MAX.
 * refs[i]: borrowed until the end. */
MUST_CHECK enum gather_result gather_start(struct gather *g, const struct secret_ref *const *refs, size_t count, gather_fn *fn, void *arg, struct err *e);
/* Borrowed until gather_stop() or the next start. */
struct slice gather_secret(const struct gather *g, size_t i);
/* Kills what runs, wipes what is there; fn will not be called. */
void gather_stop(struct gather *g);

#endif
