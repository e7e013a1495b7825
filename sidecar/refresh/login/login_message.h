/* refresh/login/login_message.h: what sidekey login gives to the keeper that runs, on login.sock: one JSON text from
 * it, one back, each up to the end of its side of the connection.   Pure.   The supervisor accepts the connection and
 * passes it on (MSG_WIRE "login"); it reads nothing of it.   Rule 8.10. */
#ifndef SIDEKEY_REFRESH_LOGIN_LOGIN_MESSAGE_H
#define SIDEKEY_REFRESH_LOGIN_LOGIN_MESSAGE_H

#include "base/buf.h"
#include "base/err.h"

#define LOGIN_SOCKET "login.sock" /* beside the admin socket */
#define LOGIN_MESSAGE_MAX (2 * 1024 * 1024)
#define LOGIN_MESSAGE_BODY_MAX (1024 * 1024) /* of a token response */

enum login_act {
    LOGIN_LOOK,   /* would the keeper take it? */
    LOGIN_KEEP,   /* the token response is stored */
    LOGIN_FORGET, /* what is stored is revoked and forgotten */
    LOGIN_ACTS
};

struct login_message {
    /* A credential of the same name elsewhere is another one: all four must be the keeper's own. */
    char *credential, *token_url, *client_id, *store; /* heap; client_id "": none */
    enum login_act act;
    char *revocation_url; /* heap; FORGET: where it is revoked; "": nowhere */
    int status;           /* of HTTP */
    int64_t wall_ms;      /* when the token request was answered, by the server's clock as far as known */
    struct buf body;      /* secret: the token response as it came */
};

/* Appends the JSON to a secret buf.  0; -ENOBUFS, -ENOMEM. */
MUST_CHECK int login_message_write(const struct login_message *h, struct buf *out);
/* Fills *ret (which was empty).  0; -1 with e, which never quotes the text. */
MUST_CHECK int login_message_read(struct slice json, struct login_message *ret, struct err *e);
void login_message_done(struct login_message *h);

/* The answer.  error NULL: it was done, and note (NULL: none) is what a person is to know of it. */
MUST_CHECK int login_message_write_answer(uint64_t generation, const char *note, const char *error, struct buf *out);
/* 0, with the note or "" in ret_note; -1 with e: what the keeper says, or that it said nothing that can be read.  Both
 * are printable. */
MUST_CHECK int login_message_read_answer(struct slice json, uint64_t *ret_generation, struct err *ret_note,
                                         struct err *e);

#endif
