/* refresh/grant/grant_answer_private.h: private to grant_answer*.c: how token responses are read.
 * grant_answer.c decides what is a token and what an error; grant_answer_read.c parses bytes to a document (RFC 8259,
 * or a form); grant_answer_lenient.c parses almost-JSON; grant_answer_unpack.c undoes compression and UTF-16;
 * grant_answer_time.c reads ends; grant_answer_member.c finds members by their names.
 */
#ifndef SIDEKEY_REFRESH_GRANT_GRANT_ANSWER_PRIVATE_H
#define SIDEKEY_REFRESH_GRANT_GRANT_ANSWER_PRIVATE_H

#include "base/buf.h"
#include "refresh/grant/grant.h"

/* The string that stands for a text which no token can be: bytes outside VSCHAR (RFC 6749 A), or far too long. */
#define GRANT_ANSWER_UNFIT "\x01"

struct grant_answer_shape {
    bool html, empty; /* it begins like a web page; there is nothing in it */
    bool whole;       /* the document has come to its end, whatever HTTP says of the body's */
    bool no_memory;   /* it may be well, and could not be read */
};

/* The one object in the body; NULL: there is none, or more than one, or no memory.  cut: the end of the body is
 * missing. */
json_t *grant_answer_read(struct slice body, bool cut, struct grant_answer_shape *ret);

/* As grant_answer_read(), for texts that no strict parser takes.  Strings and nesting are followed, never searched for
 * names; a member that comes twice with different values is GRANT_ANSWER_UNFIT; what is nested deeply is left out. */
json_t *grant_answer_lenient(struct slice text, bool cut, struct grant_answer_shape *ret);

/* The document, when the text is nothing else and no attack; NULL. */
json_t *grant_answer_strict(struct slice text);

/* Undoes gzip, zlib and raw deflate, by what the bytes look like, and UTF-16, into out (a secret buf, empty).
 * true: there was something to undo, and out is what the body says; *io_cut is set when its end is missing. */
bool grant_answer_unpack(struct slice body, struct buf *out, bool *io_cut);

/* The member of that name (lower case, "_" between words), also when it is spelled otherwise (accessToken,
 * Access-Token); the exact name first.  NULL: there is none, or it says nothing. */
const json_t *grant_answer_member(const json_t *object, const char *plain);
/* null, false, or no more than blanks. */
bool grant_answer_says_nothing(const json_t *v);
/* name is such a spelling. */
bool grant_answer_is_name(const char *name, const char *plain);
/* There is a refresh token somewhere in it, however deep. */
bool grant_answer_has_refresh(const json_t *object);

/* A number, also as text.  NAN: absent or no number. */
double grant_answer_number(const json_t *value);
/* lifetime, end and refresh_in of the object; expires: the value that the configuration names, NULL: by the usual
 * names.
 */
void grant_answer_times(const json_t *object, const json_t *expires, struct grant_answer *ret);

#endif
