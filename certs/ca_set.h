/* certs/ca_set.h: the CAs of one installation over time: which are published, which one signs for a host, when the next
 * one is due.   Pure: no I/O, no log, time is a number.   Keeper only.
 *
 * Programs read ca.pem once, when they start, so a CA must be published long before it signs. A CA is valid for a year;
 * its successor is published after half a year and signs a month later, and both stay published until the old one
 * expires. Hosts that no CA is valid for get a new CA (at most CA_SET_SIGNERS_MAX), so that the other CAs do not
 * change; the next successor is valid for all hosts. Owner  ca_set_new()'s caller, through ca_set_free().  Units  *_s
 * seconds of the wall clock, since 1970. */
#ifndef SIDEKEY_CERTS_CA_SET_H
#define SIDEKEY_CERTS_CA_SET_H

#include "certs/ca.h"

#define CA_SET_DAY_S ((int64_t)24 * 60 * 60)
#define CA_SET_LIFE_S (365 * CA_SET_DAY_S)
#define CA_SET_SUCCESSOR_S (182 * CA_SET_DAY_S) /* age at which a successor is published … */
#define CA_SET_HANDOVER_S (30 * CA_SET_DAY_S)   /* … and so much later it signs */
#define CA_SET_SIGNERS_MAX 4                    /* of one key type, successors not counted */
#define CA_SET_PEM_MAX (4 * 1024 * 1024)        /* the published ones: some ten thousand hosts */
#define CA_SET_TEXT_MAX (8 * 1024 * 1024)       /* all of them, with their keys */

struct ca_set;

struct ca_set_options { /* all borrowed */
    /* of the rules: dNSNames, "*.x.test" (one label), IP literals; NULL-terminated.  NULL: any host */
    const char *const *hosts;
    bool constrain;                   /* name constraints from hosts */
    bool rsa;                         /* beside each P-256 authority one with an RSA key */
    bool renew;                       /* a year, and successors; else ten years and none: it ends with the process */
    const char *cert_file, *key_file; /* both given: these, and none is ever made */
};

/* What ca_set_update() and ca_set_rotate() did, as bits. */
enum {
    CA_SET_MADE_FIRST = 1,
    CA_SET_MADE_FOR_HOSTS = 2,
    CA_SET_MADE_SUCCESSOR = 4,
    CA_SET_DROPPED = 8, /* one that was published is no longer */
    CA_SET_SIGNS = 16,  /* one that was published before signs from now on */
};

/* Empty, or with the given authority.  NULL with e. */
MUST_CHECK struct ca_set *ca_set_new(const struct ca_set_options *options, int64_t now_s, struct err *e);
void ca_set_free(struct ca_set *set);
/* Adds those of a text that ca_set_write() made, but for those it has.  0; -1 with e: damaged, nothing was added. */
MUST_CHECK int ca_set_read(struct ca_set *set, struct slice text, struct err *e);
/* Appends all with their keys to a secret buf.  0; -ENOBUFS, -ENOMEM. */
MUST_CHECK int ca_set_write(const struct ca_set *set, struct buf *out);

/* Has ca_set_update() something to do?  Cheap: for each request to sign. */
bool ca_set_is_due(const struct ca_set *set, int64_t now_s);
/* Makes what is due, drops what is of no use.  *ret_done gets the bits.  0; -1 with e: the set is as it was. */
MUST_CHECK int ca_set_update(struct ca_set *set, int64_t now_s, unsigned *ret_done, struct err *e);
/* A successor before its time.  at_once: it (or the one that is published already) signs from now on.  Same results;
 * -1 too for a given authority. */
MUST_CHECK int ca_set_rotate(struct ca_set *set, int64_t now_s, bool at_once, unsigned *ret_done, struct err *e);
/* Drops those that were made and could not be published. */
void ca_set_revert(struct ca_set *set);

/* Appends the certificates to publish, those that sign first.  0; -ENOBUFS, -ENOMEM. */
MUST_CHECK int ca_set_add_pem(const struct ca_set *set, int64_t now_s, struct buf *out);
/* What is in this text (ca_set_add_pem(), a file that programs read) is published and may sign. */
void ca_set_published(struct ca_set *set, struct slice pem);
/* How many authorities of now are published, and how many are to be. */
size_t ca_set_count_published(const struct ca_set *set, int64_t now_s);
size_t ca_set_count(const struct ca_set *set, int64_t now_s);
/* The first end among those that sign for a host of the rules; 0: none does. */
int64_t ca_set_expiry_s(const struct ca_set *set, int64_t now_s);
/* When the successor that is published begins to sign; 0: there is none. */
int64_t ca_set_handover_s(const struct ca_set *set, int64_t now_s);

/* As ca_sign_leaf(), by the authority that is in charge of host.  rsa: by one with an RSA key.  Only for what hosts
 * names: a subtree that the constraints permit is wider. */
MUST_CHECK int ca_set_sign_leaf(struct ca_set *set, struct slice host, bool rsa, struct slice spki_der, int64_t now_s,
                                struct buf *out_der, int64_t *ret_not_after_s, struct err *e);

#endif
