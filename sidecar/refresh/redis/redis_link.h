/* refresh/redis/redis_link.h: one connection to one Redis server, from the dial to its end; it is not opened again.
 * Keeper only. dial (TCP or unix socket) → TLS, host name verified → login (AUTH, SELECT, name, ROLE) → ready → closed,
 * with a reason, from every state. Deadlines: connect_ms until it is ready, REDIS_COMMAND_MS for a reply. Owner
 * redis_link_new()'s caller, through redis_link_free(), at any time but from inside a command's done or on_push.
 * Nothing is called back from inside a call of the owner's, but redis_command.done may come while redis_link's own
 * events run: it must only take note. */
#ifndef SIDEKEY_REFRESH_REDIS_REDIS_LINK_H
#define SIDEKEY_REFRESH_REDIS_REDIS_LINK_H

#include "base/secret.h"
#include "net/dial/dial.h"
#include "net/tls/tls.h"
#include "refresh/redis/redis_wire.h"

#define REDIS_CONNECT_MS 5000
#define REDIS_COMMAND_MS 3000
#define REDIS_NAME_SIZE (AUTHORITY_TEXT_MAX + 8)

struct redis_link;

/* embedded in its owner, who must keep it until done, redis_link_take or redis_link_free */
struct redis_command {
    struct list node;
    struct buf bytes; /* by redis_wire_add() */
    unsigned skip;    /* replies before its own that nobody wants (ASKING) */
    unsigned tries;   /* connections that ended under it */
    /* reply: borrowed for the call.  NULL: no server could be asked; why says so. */
    void (*done)(struct redis_command *c, const redisReply *reply, const char *why);
};

struct redis_place {  /* borrowed for the call */
    const char *path; /* unix socket; NULL: at */
    struct authority at;
    struct tls_client *tls; /* NULL: plain */
};

struct redis_login {
    const char *username;  /* borrowed for the life of the link; NULL: the default user */
    struct slice password; /* copied; empty: no AUTH */
    unsigned db;
    bool primary;  /* refuse a server that says it is none */
    bool nameless; /* without CLIENT SETNAME: old servers and proxies (twemproxy) end the connection at it */
};

struct redis_link_hooks {
    void (*on_ready)(void *arg);
    /* once, from the loop; the link may be freed in it.  why names the server */
    void (*on_closed)(void *arg, const char *why);
    /* not NULL: every reply goes here, no command waits for its own (SUBSCRIBE) */
    void (*on_push)(void *arg, const redisReply *reply);
    void *arg;
};

/* NULL: out of memory. */
MUST_CHECK struct redis_link *redis_link_new(struct dialer *dialer, const struct redis_place *place,
                                             const struct redis_login *login, int64_t connect_ms,
                                             const struct redis_link_hooks *hooks);
/* Closes; commands that wait are dropped without a word.  Accepts NULL. */
void redis_link_free(struct redis_link *l);
/* Only while it is ready (redis_link_ready). */
void redis_link_send(struct redis_link *l, struct redis_command *c);
bool redis_link_ready(const struct redis_link *l);
/* Moves the commands that have no reply to the empty list to, in their order. */
void redis_link_take(struct redis_link *l, struct list *to);
/* Ends it; on_closed comes with this reason. */
void redis_link_close(struct redis_link *l, const char *why);
/* It was closed because the server did not accept the password. */
bool redis_link_refused(const struct redis_link *l);
/* The server ended the connection at our name (CLIENT SETNAME), as far as can be seen: nameless is worth one try. */
bool redis_link_unnamed(const struct redis_link *l);
/* "redis 10.0.0.5:6379", "redis /run/redis.sock": for messages. */
const char *redis_link_name(const struct redis_link *l);

#endif
