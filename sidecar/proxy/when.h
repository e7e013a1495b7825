/* proxy/when.h: the placeholder that chooses a rule (rules[].when): where it stands in a request, and many placeholders
 * by their value, so that a request costs the same with one account and with a thousand.   Pure.
 * Owner  struct when is plain data of its rule; a when_table belongs to when_table_new()'s caller. */
#ifndef SIDEKEY_PROXY_WHEN_H
#define SIDEKEY_PROXY_WHEN_H

#include "http/message.h"

#define WHEN_VALUE_MAX 1024 /* bytes of a placeholder; longer values are never one */
#define WHEN_PLACES_MAX 64  /* different fields and query keys in one table */

/* At most one of any, header, query and basic_password is set; all NULL: the rule asks for no placeholder. */
struct when {
    /* a placeholder that sidekey made (placeholder: auto): wherever a credential may stand (proxy/carried.h), since
     * programs differ in that.  Its last run of letters and digits is found nowhere else */
    char *any;
    char *header;         /* name of a field that holds it, and nothing else */
    char *query;          /* key of the query; its value is compared decoded */
    char *basic_password; /* the placeholder itself: the password of Authorization: Basic (RFC 7617), any user */
    char *equals;         /* the placeholder, with header and query; "Bearer X" matches "bearer X" (RFC 9110 §11.1) */
};

static inline bool when_is_set(const struct when *w)
{
    return w->any || w->header || w->query || w->basic_password;
}
/* The placeholder that w asks for. */
struct slice when_text(const struct when *w);
/* Both look at the same field or query key. */
bool when_same_place(const struct when *a, const struct when *b);
/* The request has exactly one value at that place, and it is the placeholder (`any`: one value or more is); true when w
 * asks for none.  Compared in constant time. */
bool when_holds(const struct when *w, const struct message *request);
/* A place of the request where w->any is the whole value: *ret_field is the number of a field, or CARRIED_TARGET.
 * false: there is none. */
bool when_find_any(const struct when *w, const struct message *request, size_t *ret_field);

/* Placeholders by place and value. */
struct when_table;

/* NULL when out of memory. */
MUST_CHECK struct when_table *when_table_new(void);
/* Accepts NULL.  free_value (may be NULL) gets each value once. */
void when_table_free(struct when_table *t, void (*free_value)(void *value));
/* Puts value under the place and the placeholder of w (borrowed, as long as the table).  Returns 0; -ENOMEM;
 * -ENOBUFS: more than WHEN_PLACES_MAX places. */
MUST_CHECK int when_table_put(struct when_table *t, const struct when *w, void *value);
/* What is under the place and placeholder of w, or NULL. */
void *when_table_at(const struct when_table *t, const struct when *w);
size_t when_table_places(const struct when_table *t);
/* The first rule's `when` that named this place (place < when_table_places()). */
const struct when *when_table_place(const struct when_table *t, size_t place);
/* What is under the value number nth (from 0) that the request has at this place; NULL: nothing.  *more: there is a
 * value of that number.  At the place `any` only placeholders of the table are values, each once, and only 0 and 1 are
 * asked for. */
void *when_table_get(const struct when_table *t, size_t place, const struct message *request, size_t nth, bool *more);
/* The place is `any`, and the request carries a placeholder of it that is not own's (NULL: nobody's), or own's where it
 * is not the whole value, or memory is out. */
bool when_table_strays(const struct when_table *t, size_t place, const struct when *own, const struct message *request);
/* The same for one text of a body: any placeholder of the place `any` is in it. */
bool when_table_has_text(const struct when_table *t, size_t place, struct slice text);

#endif
