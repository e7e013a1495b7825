/* proxy/carried.h: the places of a request where something that stands for a credential may be: every field, Basic
 * credentials decoded (RFC 7617), the query decoded, the path.   Pure. */
#ifndef SIDEKEY_PROXY_CARRIED_H
#define SIDEKEY_PROXY_CARRIED_H

#include "http/message.h"

#define CARRIED_RUN_MIN 16 /* shorter runs are never part of a placeholder that sidekey made */
#define CARRIED_TARGET SIZE_MAX

struct carried {
    struct slice run; /* letters and digits in a row, CARRIED_RUN_MIN of them or more */
    /* The complete value around it, where a credential may stand: a field's (behind its scheme, if it has one), the
     * user or the password of Basic, a query key's.  ptr NULL: it stands where no rule could take it off. */
    struct slice whole;
    size_t field; /* its number; CARRIED_TARGET: in the target */
};

/* false: no more. */
typedef bool carried_fn(void *arg, const struct carried *c);

/* Calls fn for each run of the request.  The slices are valid during the call.  Returns 0; -ENOMEM: not all were seen.
 */
MUST_CHECK int carried_each(const struct message *request, carried_fn *fn, void *arg);
/* The same for one text that is a credential as a whole, such as a parameter of a form. */
void carried_each_of(struct slice text, carried_fn *fn, void *arg);

#endif
