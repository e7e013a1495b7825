/* net/stream_private.h: what the stream*.c files share among themselves. */
#ifndef SIDEKEY_NET_STREAM_PRIVATE_H
#define SIDEKEY_NET_STREAM_PRIVATE_H

#include "net/hangup.h"
#include "net/stream.h"
#include "net/timer.h"
#include "net/tls/tls_session.h"

enum stream_state { STREAM_SECURING, STREAM_OPEN, STREAM_BROKEN, STREAM_LINGERS };

struct stream {
    int fd;
    enum stream_state state;
    int read_wait, write_wait; /* see stream.c */
    ev_io io;
    struct later later;
    struct hangup hangup; /* watched when asked for, while nothing is read and our end not said */
    enum stream_hangup want_hangup, hangup_watched;
    stream_event_fn *fn;
    void *owner;
    bool *gone; /* while an event runs: set to true when the stream must not be touched afterwards */
    struct tls_session *tls;
    struct buf out;
    uint64_t flushed;  /* bytes that have left out for the socket */
    size_t committed;  /* bytes at the front of out that TLS has made a record of: they must go */
    size_t plain_left; /* bytes at the front of out that were written before TLS began, and go out as they are */
    unsigned dry_turn; /* turn of the loop in which the socket was read empty */
    bool dry;          /* dry_turn counts */
    bool want_read;
    bool eof;         /* the peer's clean end was read */
    bool left;        /* LEFT was told */
    bool finish;      /* no more will be written */
    bool finished;    /* … and that was said to the peer */
    bool was_full;    /* the owner waits for DRAINED */
    bool write_lost;  /* writes fail, the peer's last words are still to be read */
    bool write_reset; /* … and the failure was a reset: what is read ends in it */
    bool told;        /* FAILED was sent */
    const char *error, *label;
    struct lingering *linger; /* STREAM_LINGERS */
};

struct lingering {
    struct timer timer;
    struct stream *stream;
    bool reset;       /* stream_abort(): closed by a reset once all is out */
    bool heard;       /* input came since the timer last ran */
    size_t waiting;   /* of the queue, when the timer last ran */
    unsigned stalls;  /* how often it ran since a byte went out */
    unsigned silence; /* … since one came in */
    unsigned rounds;  /* … since all was out */
};

/* stream.c */
/* Computes interest from state; to be called at the end of everything that changes it. */
void stream_settle(struct stream *s);
void stream_destroy(struct stream *s);
/* The first failure counts.  FAILED is told later. */
void stream_fail_errno(struct stream *s, int number);
void stream_fail_tls(struct stream *s);
bool stream_output_due(const struct stream *s);

/* What TLS waits for, as libev says it. */
static inline int stream_wait_of(enum tls_io io)
{
    return io == TLS_WANT_READ ? EV_READ : EV_WRITE;
}

/* stream_out.c */
/* STREAM_OK: *ret_n bytes are out. STREAM_AGAIN: write_wait is set. STREAM_ERROR: *ret_errno. */
enum stream_io stream_send_plain(struct stream *s, struct slice bytes, size_t *ret_n, int *ret_errno);
/* Writes the queue until it is empty or the socket is full; then, when asked to finish, the end. */
void stream_flush(struct stream *s);
/* … and true when DRAINED is due. */
bool stream_flush_drains(struct stream *s);

/* stream_in.c */
/* true: a read will not say AGAIN. */
bool stream_look(struct stream *s);

/* stream_linger.c */
/* Goes on with a lingering stream; may destroy it. */
void stream_work_linger(struct stream *s);

#endif
