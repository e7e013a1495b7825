/* refresh/store/binding.h: which authorization server and client a stored state belongs to.   Keeper only.
 * A refresh token is sent only to the authority and client that issued it. State of another one is not read; it is kept
 * until the configuration names that one again. In the JSON form (state.h) these are members of "extra", which releases
 * that know nothing of them carry along: "sidekey_binding"  "host:port client_id" of the state itself; missing: written
 * by release 0.1.0, anybody's "sidekey_lines"    an object: binding to document, of the others.   Pure. */
#ifndef SIDEKEY_REFRESH_STORE_BINDING_H
#define SIDEKEY_REFRESH_STORE_BINDING_H

#include "refresh/store/state.h"

#define BINDING_LINES_MAX 8 /* of more others, the oldest is forgotten */
#define BINDING_TAG_SIZE 17

/* The text; NULL: no authority, or out of memory (then nothing is bound).  The caller's, from malloc. */
char *binding_text(const char *authority, const char *client_id);
/* What *doc holds for this binding, as a state of its own: its generation is that of the commit that wrote it; nothing:
 * generation 0.  *others (replaced; NULL when there are none) is what must be stored beside it.
 * 0; -ENOMEM; -EBADMSG (a line of ours that cannot be read): *doc is as it was. */
MUST_CHECK int binding_split(struct state *doc, const char *binding, json_t **others);
/* Makes doc->extra say whose it is, with the others beside it.  0; -ENOMEM. */
MUST_CHECK int binding_join(struct state *doc, const char *binding, const json_t *others);
/* Whose it is; NULL: anybody's. */
const char *binding_of(const struct state *doc);
/* A short name of a binding that fits a file name. */
void binding_tag(const char *binding, char text[BINDING_TAG_SIZE]);

#endif
