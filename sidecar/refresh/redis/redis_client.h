/* refresh/redis/redis_client.h: one Redis server, asked over one connection at a time that is made again when it ends.
 * Keeper only. Full-jitter backoff between tries (0 … 100 ms · 2ⁿ, at most 3 s); the primary is looked up again for
 * each try when there are sentinels. A command under which the connection ended is sent once more on the next one: ours
 * may all be repeated.  While the server is known to be down a command fails at once. Owner  redis_client_new()'s
 * caller, through redis_client_free(): from anywhere but a command's done or on_push. */
#ifndef SIDEKEY_REFRESH_REDIS_REDIS_CLIENT_H
#define SIDEKEY_REFRESH_REDIS_REDIS_CLIENT_H

#include "base/secret_ref.h"
#include "refresh/redis/redis_sentinel.h"

/* Who we are: read at the first login, and again after a refusal (a rotated password). */
struct redis_account {
    const char *username;              /* borrowed; NULL: the default user */
    const struct secret_ref *password; /* borrowed; kind NONE: no AUTH */
    struct secret secret;              /* the one that was read; see redis_client_account_done() */
    bool read;
};

struct redis_client_options {
    struct dialer *dialer; /* borrowed, as are all pointers here */
    struct redis_account *account;
    struct redis_sentinels *sentinels;      /* NULL: place is the server */
    struct redis_account *sentinel_account; /* with sentinels */
    struct redis_place place;
    unsigned db;
    void (*on_up)(void *arg);                            /* ready for commands */
    void (*on_down)(void *arg, const char *why);         /* each time that the connection ended or could not be made */
    void (*on_push)(void *arg, const redisReply *reply); /* as redis_link_hooks */
    void *arg;
};

struct redis_client;

/* Starts to connect.  options is copied; db, TLS and so on hold for each server that it leads to.  NULL: out of memory.
 */
MUST_CHECK struct redis_client *redis_client_new(const struct redis_client_options *options);
/* Commands that wait are dropped without a word.  Accepts NULL. */
void redis_client_free(struct redis_client *c);
/* c->done will run, perhaps inside this call (when the server is down). */
void redis_client_send(struct redis_client *c, struct redis_command *command);
/* Takes a command back that is not with the server yet (then its done will not run): true. */
bool redis_client_unsend(struct redis_client *c, struct redis_command *command);
bool redis_client_up(const struct redis_client *c);
/* Not up, and the last try has failed. */
bool redis_client_down(const struct redis_client *c);
/* Leaves the server (it is a replica now), and looks for the right one; between two tries: tries at once. */
void redis_client_leave(struct redis_client *c, const char *why);
/* For messages; never NULL. */
const char *redis_client_name(const struct redis_client *c);
/* The server that it has, or had last: the one that the sentinels named, else the one of the options. */
const struct authority *redis_client_at(const struct redis_client *c);
void redis_client_account_done(struct redis_account *a);

#endif
