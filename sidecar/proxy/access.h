/* proxy/access.h: the clients of the proxy, by password or by uid, and the rules of each.   Worker
 * process. Owner  worker.c, through access_free().  Passwords are read once, at the start; a reload starts new workers.
 */
#ifndef SIDEKEY_PROXY_ACCESS_H
#define SIDEKEY_PROXY_ACCESS_H

#include "base/err.h"
#include "http/message.h"
#include "proxy/options.h"
#include "proxy/replay.h"

struct access;
struct rule_index;

struct access_slots { /* connections that a client has */
    unsigned used;
};

struct access_client {
    const char *name;
    const struct rule_index *rules; /* of its own copies; their original is the configuration's */
    struct replay_share *replays;   /* its part of the memory for bodies */
    struct access_slots *slots;
};

/* o: as long as the access lives.  NULL with e: a password that cannot be read, or no memory. */
MUST_CHECK struct access *access_new(const struct worker_options *o, struct err *e);
void access_free(struct access *a);
struct access_peer { /* at the other end of a connection, as the kernel knew it when the connection was made */
    bool local;      /* on the unix socket; else uid and who are empty */
    uid_t uid;
    bool own;                        /* over TCP to the private proxy of "run", from a program of our own user */
    bool led;                        /* own, and what it says is meant for another proxy: its password is not for us */
    const struct access_client *who; /* whom that uid names; NULL: nobody */
};

enum access_verdict {
    ACCESS_GRANTED,
    ACCESS_ASK,      /* no password that counts: 407 */
    ACCESS_STRANGER, /* a peer on the unix socket that no client names, and no word of who else it would be: 403 */
};

/* Whom the uid names (the first client that lists it); NULL: nobody. */
const struct access_client *access_by_uid(const struct access *a, uid_t uid);
/* Is it the password of a client, or of "run"?  All are compared, each in constant time.  *ret: whose, as below. */
bool access_by_password(const struct access *a, struct slice password, const struct access_client **ret);
/* May the sender of this request head use the proxy?  A password in it decides (RFC 7617 Basic in Proxy-Authorization;
 * compared in constant time), also when it is wrong; without one it is the peer's uid.  The private proxy of
 * "run" wants no password from its own user: some programs cannot send one.  *ret: the client it is; NULL:
 * nobody in particular, who has all rules. */
enum access_verdict access_check(const struct access *a, const struct message *head, const struct access_peer *peer,
                                 const struct access_client **ret);
/* The first rule of who (NULL: everyone's) that knows this host and port; NULL: none. */
const struct rule *access_first_rule(const struct access *a, const struct access_client *who,
                                     const struct authority *a0);
/* As rule_index_find() among the rules of who. */
enum rule_match access_find_rule(const struct access *a, const struct access_client *who, const struct authority *a0,
                                 const struct message *request, const struct rule **ret);
/* As rule_index_stray_placeholder(), for the placeholders of all clients. */
bool access_stray_placeholder(const struct access *a, const struct rule *winner, const struct message *request);
/* As rule_index_stray_text(), for the placeholders of all clients. */
bool access_stray_text(const struct access *a, struct slice text);
/* As rule_index_answering() among the rules of who. */
size_t access_answering(const struct access *a, const struct access_client *who, const struct authority *a0,
                        const struct message *request, const struct rule **ret, size_t most);
/* Does any rule speak of this port? */
bool access_knows_port(const struct access *a, uint16_t port);
/* Does any client have a credential for this host and port? */
bool access_has_credential(const struct access *a, const struct authority *a0);

#endif
