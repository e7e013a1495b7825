/* refresh/redis/store_redis_private.h: inside the Redis engine, for store_redis*.c only.
 * store_redis.c has the operations, _nodes.c the servers, _script.c what Redis runs, _blob.c the sealing, _watch.c who
 * is told. */
#ifndef SIDEKEY_REFRESH_REDIS_STORE_REDIS_PRIVATE_H
#define SIDEKEY_REFRESH_REDIS_STORE_REDIS_PRIVATE_H

#include "crypto/digest.h"
#include "net/timer.h"
#include "refresh/redis/redis_client.h"
#include "refresh/redis/redis_switch.h"
#include "refresh/redis/redis_url.h"
#include "refresh/store/kept_file.h"
#include "refresh/store/state_dir.h"
#include "refresh/redis/store_redis.h"

#define KEY_SIZE (STATE_DIR_NAME_MAX + 32)
#define OWNER_TEXT (2 * STORE_OWNER_BYTES + 1)
#define FORMER_OWNERS 4

enum redis_kind { BEGIN, RENEW, COMMIT, RELEASE, LOAD, MARK, THROTTLE, PROBE, RESTORE, PEEK, KINDS };

struct redis_node { /* one server: the one of the URL first, then those that it led to */
    struct list list;
    struct store_redis *store;
    struct redis_client *client;
};

/* A sealed state as it is stored. */
struct redis_kept {
    uint64_t generation; /* 0: none */
    struct buf blob;
    int64_t expires_wall_ms;
    char dead_fp[9];
};

struct cred { /* what this process knows of one credential */
    struct list list;
    struct store_redis *store;
    char name[STATE_DIR_NAME_MAX + 1];
    uint64_t told;          /* the generation that the watcher, or an answer, has spoken of last */
    struct redis_kept kept; /* the newest that we have seen whole */
    bool useless;           /* its file is there and does not open */
    /* Owners whose last operation had no answer: it may take effect yet, as that of nobody, when a server that stood
     * still goes on.  This process has one owner at a time, so what they hold is no hindrance to the next one. */
    char former[FORMER_OWNERS][OWNER_TEXT];
    unsigned formers;         /* ever */
    struct redis_node *home;  /* where MOVED has led; NULL: the first node */
    struct later tell;        /* the watcher is to be told */
    bool peeking, peek_again; /* a look is under way · it may have been too early */
};

struct script {
    const char *text;
    char sha1[DIGEST_SHA1_HEX_SIZE];
};

struct store_redis {
    struct store base;
    struct store_redis_options options;
    struct dialer *dialer;
    struct dial_options network;
    struct address everywhere[2];
    struct tls_client *tls;
    struct redis_account account, sentinel_account;
    struct redis_sentinels sentinels;
    struct authority *sentinel_nodes;
    struct redis_switch *failovers;     /* NULL: no sentinels */
    struct redis_client_options client; /* what all clients have in common */
    char *username;                     /* of the URL */
    struct redis_place place;
    char path[REDIS_PATH_MAX + 1];
    struct state_dir dir; /* path NULL: none */
    struct list nodes, creds, ops;
    bool failed;            /* the last operation met an error */
    struct cred *unwritten; /* whose last write met one, though what only reads may get its answer; NULL: none */
    char told_why[512];     /* the last complaint in the log */

    /* store_redis_watch.c */
    store_change_fn *fn;
    void *arg;
    struct redis_client *subscriber;
    struct redis_command say; /* SUBSCRIBE, PING */
    struct timer tick;
    bool subscribed, told_polled;
};

/* What an operation came to; the answer points into it. */
struct redis_outcome {
    struct store_answer answer;
    struct state state;
    struct err err;
};

struct store_op {
    struct list node;
    struct store_redis *store;
    struct cred *cred; /* NULL: what was given is no name */
    enum redis_kind kind;
    bool healing;           /* a RESTORE goes first, then the operation again */
    bool unfit;             /* … over a state of our generation that does not open */
    bool healed, with_text; /* EVAL instead of EVALSHA */
    bool giving_back;       /* a RELEASE of a lease that we cannot use; out is the answer already */
    struct redis_node *at;
    unsigned redirects, pauses;
    struct timer pause; /* the cluster is moving the keys just now */
    struct redis_command command;
    bool sent; /* command is with a client, and done will come */
    struct store_owner owner;
    int64_t ttl_ms;                  /* BEGIN, RENEW: of the lease; THROTTLE: of the pause */
    uint64_t generation;             /* BEGIN: known; COMMIT, MARK: parent */
    struct store_intent_copy intent; /* MARK */
    struct redis_kept next;          /* COMMIT */
    struct later later;
    struct redis_outcome out;
    store_fn *fn; /* NULL: cancelled */
    void *arg;
};

/* store_redis.c */
struct store_op *store_redis_ask(struct store_redis *s, enum redis_kind kind, const char *cred,
                                 const struct store_owner *owner, store_fn *fn, void *arg);

/* store_redis_nodes.c */
MUST_CHECK int store_redis_open(struct store_redis *s, struct err *e);
void store_redis_close(struct store_redis *s);
struct redis_node *store_redis_pick(const struct store_redis *s, const struct cred *cred);
/* Where "MOVED 1234 host:port" of that node points; NULL: nowhere. */
struct redis_node *store_redis_follow(struct store_redis *s, const struct redis_node *from, const redisReply *reply);

/* store_redis_script.c */
void store_redis_name_scripts(void);
/* op's command, ready to be sent.  asking: for ASK.  0; -ENOMEM, -ENOBUFS. */
MUST_CHECK int store_redis_build(struct store_op *op, bool asking);
/* What op's owner has or will have at the server is in nobody's hand. */
void store_redis_disown(const struct store_op *op);
const char *store_redis_key(const struct cred *cred, const char *what, char key[KEY_SIZE]);

/* store_redis_blob.c */
MUST_CHECK int store_redis_seal(const struct seal_ring *ring, const char *cred, uint64_t generation,
                                const struct state *state, struct redis_kept *to);
/* 0; -1 with e. */
MUST_CHECK int store_redis_unseal(const struct seal_ring *ring, const char *cred, uint64_t generation,
                                  struct slice blob, struct state *ret, struct err *e);
/* The newest wins; of two of one generation, that which the server has.  Writes the file. */
void store_redis_keep(struct cred *cred, uint64_t generation, struct slice blob, int64_t expires_wall_ms,
                      const char *dead_fp);
/* The directory was made again: writes what is kept. */
void store_redis_keep_again(struct cred *cred);
void store_redis_kept_done(struct redis_kept *k);
/* What an earlier process of this directory has kept; a file that is of no use is reported and ignored. */
void store_redis_recall(struct cred *cred);

/* store_redis_watch.c */
/* What we know of that credential, made when there is nothing; NULL: out of memory. */
struct cred *store_redis_cred(struct store_redis *s, const char *name);
void store_redis_cred_free(struct cred *cred);
void store_redis_watch(struct store *s, store_change_fn *fn, void *arg);
void store_redis_unwatch(struct store_redis *s);
/* An answer has spoken of this generation.  ours: we have just made it. */
void store_redis_saw(struct cred *cred, uint64_t generation, bool ours);
void store_redis_tick(void *store_redis);
/* How an operation ended: is the store up? */
void store_redis_note(const struct store_op *op, enum store_result result);
/* Asks for every credential's generation. */
void store_redis_peek(struct store_redis *s);

#endif
