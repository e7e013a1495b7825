/* net/ipc/msg.h: the messages between keeper and workers (docs/architecture.md) as structs, and their bytes.   Pure.
 * Times are clock_mono_ms() (the same in every process of the machine). Decoding never trusts: lengths, counts and
 * enumerators are checked, text is not NUL-terminated (slices into the packet). */
#ifndef SIDEKEY_NET_IPC_MSG_H
#define SIDEKEY_NET_IPC_MSG_H

#include "base/buf.h"

#define MSG_NAME_MAX 64     /* a credential's name */
#define MSG_TOKEN_MAX 16384 /* an access token */
#define MSG_EXTRAS_MAX 8    /* instance_url … */
#define MSG_NEVER INT64_MAX /* "no such time" */

enum msg_type {
    MSG_HELLO = 1, /* worker → keeper: I am here */
    MSG_CONFIG,    /* keeper → worker: every credential's TOKEN has been sent */
    MSG_TOKEN,     /* keeper → workers */
    MSG_WANT,      /* worker → keeper */
    MSG_FAIL,      /* keeper → workers */
    MSG_MINT,      /* worker → keeper */
    MSG_LEAF,      /* keeper → worker */
    MSG_ASK, /* worker → keeper or supervisor: an admin question (see ask); supervisor → keeper: STATUS, into the log */
    MSG_ANSWER, /* keeper or supervisor → worker */
    MSG_WIRE,   /* supervisor → worker or keeper: a new socket to the other side (fd); worker → supervisor: mine is gone
                 */
    MSG_READY,  /* keeper or worker → supervisor */
    MSG_DRAIN,  /* supervisor → worker, keeper: finish what is in flight, then end */
    MSG_CA,     /* keeper → supervisor: the CA, sealed, for the next keeper (memfd attached) */
    MSG_MINT_ANEW, /* keeper → workers: another CA signs: leaves that are kept are of no use from now on */
    MSG_PING,      /* supervisor → keeper or worker, and its echo: the loop turns */
};

enum msg_state { MSG_NONE, MSG_USABLE, MSG_REAUTH }; /* no token yet · has one · needs a person (dead) */
enum msg_reason { MSG_EXPIRING, MSG_MISSING, MSG_REJECTED, MSG_FORCED };
/* docs/refresh-rules.md §3.  RECENT: a forced refresh was refused because one ran less than the floor ago. */
enum msg_class {
    MSG_TRANSIENT,
    MSG_AMBIGUOUS,
    MSG_THROTTLE,
    MSG_CLOCK,
    MSG_CONFIG_ERROR,
    MSG_DEAD,
    MSG_STORE,
    MSG_RECENT,
    MSG_UNKNOWN_CREDENTIAL,
    MSG_LINK, /* the worker's own: its link to the keeper is gone */
    MSG_SLOW, /* the worker's own: nobody has answered in time */
};
enum msg_ask {
    MSG_ASK_READY,
    MSG_ASK_GAUGES,  /* to the keeper: bring what METRICS will read up to date */
    MSG_ASK_METRICS, /* to the supervisor */
    MSG_ASK_STATUS,
    MSG_ASK_CA,
    MSG_ASK_RELOAD, /* to the supervisor */
    MSG_ASK_LIVE,   /* to the supervisor: do all processes answer? */
    MSG_ASK_ROTATE,
    MSG_ASK_RESET
};
enum {
    MSG_DRAIN_LAST = 1, /* the program ends: nobody accepts again */
    MSG_DRAIN_SOON,     /* too many drain: give up what is idle and what streams, end what is in flight soon */
};

struct msg_extra {
    struct slice key, value;
};

struct msg {
    enum msg_type type;
    struct slice name;     /* credential: TOKEN WANT FAIL; host: MINT LEAF; process role: HELLO READY */
    uint64_t generation;   /* TOKEN; WANT: the rejected one; FAIL: the current one */
    enum msg_state state;  /* TOKEN */
    struct slice token;    /* TOKEN: secret */
    int64_t expires_ms;    /* TOKEN: hard end, MSG_NEVER: unknown, rely on 401 */
    int64_t refresh_at_ms; /* TOKEN: from here on ask for a new one while serving this one */
    struct msg_extra extras[MSG_EXTRAS_MAX];
    size_t extra_count;     /* TOKEN */
    enum msg_reason reason; /* WANT */
    int64_t deadline_ms;    /* WANT */
    enum msg_class failure; /* FAIL */
    int64_t retry_after_ms; /* FAIL: a duration, 0: unknown */
    /* FAIL, LEAF (why not), ANSWER (body, or a part of it: net/ipc/msg_parts.h): safe to show */
    struct slice text;
    uint64_t offset;  /* ANSWER: bytes of the body that came before this part */
    bool more;        /* ANSWER: another part follows */
    struct slice der; /* MINT: SubjectPublicKeyInfo, tag: enum tls_leaf_kind, which LEAF repeats; LEAF: certificate,
                         empty: refused, see text */
    int64_t until_s;  /* LEAF: not after, seconds since 1970 */
    enum msg_ask ask; /* ASK ANSWER */
    /* ASK ANSWER: chosen by the asker; HELLO: slot number; DRAIN: MSG_DRAIN_…, or 0 when others take over */
    uint64_t tag;
    bool ok; /* ANSWER; ASK METRICS: as OpenMetrics; ASK ROTATE: now */
};

/* Appends the packet.  0; -ENOBUFS (over the buf's cap), -ENOMEM, -EINVAL (a limit above is broken). */
MUST_CHECK int msg_encode(const struct msg *m, struct buf *out);
/* m's slices point into packet.  0; -EBADMSG. */
MUST_CHECK int msg_decode(struct slice packet, struct msg *ret);
const char *msg_class_name(enum msg_class c);
const char *msg_state_name(enum msg_state s);

#endif
