/* proxy/h1_leg_private.h: private to the files of the leg: h1_leg.c (life, reading) and h1_leg_write.c. */
#ifndef SIDEKEY_PROXY_H1_LEG_PRIVATE_H
#define SIDEKEY_PROXY_H1_LEG_PRIVATE_H

#include "proxy/h1_leg.h"

/* What the peer will still send. */
enum h1_peer {
    PEER_SENDS,
    PEER_ENDED, /* its end was read: nothing comes after rest */
    PEER_LOST,  /* the stream has failed: the same */
};

struct h1_leg {
    struct leg base;
    struct stream *stream;
    struct h1 *parser;
    enum h1_role reads;
    struct buf rest;     /* read, not parsed yet */
    struct later resume; /* goes on with rest outside the call that asked */
    struct later deferred_free;
    struct slice *feeding; /* while an event runs: what of the input is not parsed yet; rest does not count then */
    int64_t started_ms;    /* when the first byte of this message came; 0: none yet */
    uint32_t idle_s;       /* of the last answer */
    bool want, ended, upgraded, dead, keep;
    enum h1_peer peer;
    bool told;                 /* gone was */
    bool half_close;           /* client: the end of its side is not the end */
    bool ends_with_request;    /* client: h1_leg_ends_with_request() */
    bool writing, close_after; /* a message is being written; the connection ends with it */
    bool closed_before;        /* close_after without the message that is being written */
    uint64_t written_at;       /* stream_mark() before it */
    enum framing out;
    uint64_t out_left;
};

/* h1_leg_write.c: operations of struct leg (proxy/leg.h). */
int h1_leg_write_head(struct leg *base, const struct message *m, bool head_only);
int h1_leg_write_data(struct leg *base, struct slice data);
int h1_leg_write_end(struct leg *base, const struct message *trailers);
size_t h1_leg_write_space(struct leg *base);
bool h1_leg_retract(struct leg *base);

#endif
