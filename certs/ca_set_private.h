/* certs/ca_set_private.h: a set seen by its two files: ca_set.c (which one signs, what is due) and ca_set_text.c (as
 * text: stored, published). */
#ifndef SIDEKEY_CERTS_CA_SET_PRIVATE_H
#define SIDEKEY_CERTS_CA_SET_PRIVATE_H

#include "base/hash.h"
#include "certs/ca_set.h"

#define MEMBERS_MAX 32

struct member {
    struct ca *ca;
    int64_t signs_from_s;
    bool published;
    bool fresh; /* made since the last publication */
};

struct ca_set {
    struct ca_set_options options;
    const char **wanted; /* hosts that some CA must be valid for; an entry NULL: any host */
    size_t wanted_count;
    struct hash *named; /* options.hosts, for what is asked at each leaf; NULL: any host */
    struct member members[MEMBERS_MAX];
    size_t count;
    bool given;
    int64_t next_signs_s;    /* when a published successor takes over; 0: none */
    int64_t from_s, until_s; /* while the clock is in between, nothing is due */
};

static inline bool ca_set_is_live(const struct member *m, int64_t now_s)
{
    return now_s >= ca_not_before_s(m->ca) && now_s < ca_not_after_s(m->ca);
}

/* Its turn to sign has not come. */
static inline bool ca_set_is_pending(const struct member *m, int64_t now_s)
{
    return m->signs_from_s > now_s;
}

/* ca_set.c.  Takes out those that came after the first count: of a change that failed. */
void ca_set_undo(struct ca_set *set, size_t count);

#endif
