/* http/h2_private.h: the codec seen by its files: h2.c (the connection), h2_in.c (what comes), h2_head.c (a head that
 * comes), h2_out.c (what goes), h2_guard.c (what is too much), h2_strict.c (what is wrong and the library lets pass).
 */
#ifndef SIDEKEY_HTTP_H2_PRIVATE_H
#define SIDEKEY_HTTP_H2_PRIVATE_H

#include <nghttp2/nghttp2.h>

#include "base/list.h"
#include "http/h2.h"

#define H2_STREAMS_MAX 256                 /* SETTINGS_MAX_CONCURRENT_STREAMS of ours */
#define H2_LIST_MAX MESSAGE_HEAD_MAX_BYTES /* SETTINGS_MAX_HEADER_LIST_SIZE of ours; beyond: 431 */
#define H2_LIST_BOMB (4 * H2_LIST_MAX)     /* a head that unpacks to more ends the connection */
#define H2_CONTINUATIONS_MAX 8             /* a head of H2_LIST_MAX needs 4 */
#define H2_WINDOW_FIRST NGHTTP2_INITIAL_WINDOW_SIZE
#define H2_WINDOW_MAX (1024 * 1024)
#define H2_CONNECTION_WINDOW (4 * 1024 * 1024)

/* A bucket of tokens for frames that cost the peer little and us more (docs/http.md §8). */
struct h2_bucket {
    int64_t tokens, at_ms;
};

/* Where the peer's bytes are, frame by frame, and which of its streams are over as far as that is remembered. */
#define H2_ENDED_MAX 32
#define H2_SKIPPED_MAX 8
struct h2_strict {
    uint8_t head[13]; /* of the frame that comes, and the 4 bytes behind it that matter for some */
    size_t have;
    bool in_head;           /* CONTINUATION has to follow */
    unsigned continuations; /* in a row */
    size_t skip;            /* of its payload, or of the preface, still to come */
    int32_t last;
    int32_t ended[H2_ENDED_MAX]; /* streams that the peer has ended or reset; 0: none */
    struct {
        int32_t first, last;
    } skipped[H2_SKIPPED_MAX]; /* numbers that it left out: they cannot be used any more */
    unsigned ends, skips;
    uint32_t window;   /* SETTINGS_INITIAL_WINDOW_SIZE of the peer's, before those that come */
    const char *error; /* NULL: none */
    uint32_t code;
};

struct h2 {
    nghttp2_session *session;
    const struct h2_events *events;
    void *owner;
    struct h2_options options;
    struct list streams; /* struct h2_stream.node: all */
    struct list due;     /* struct h2_stream.due: have events to deliver */
    struct list owes;    /* in budget.owing while owed > 0 */
    size_t owed;         /* connection credit that was held back */
    struct buf *sink;    /* during h2_pull() */
    size_t sink_limit;
    size_t open;
    int64_t now_ms, heard_ms;
    struct h2_bucket cheap, resets;
    struct h2_strict strict;
    const char *error; /* NULL: none */
    bool out_of_memory, told_settled, goaway, feeding, failed, lost;
};

struct h2_stream {
    struct list node, due;
    struct h2 *h;
    const struct h2_stream_events *events;
    void *owner; /* NULL events: it has no owner any more */
    int32_t id;  /* 0: not opened */
    /* --- what comes --- */
    struct message head, trailers;
    struct message_part scheme, authority;
    size_t list_bytes;      /* of the head that is coming, unpacked (RFC 9113 §6.5.2) */
    struct buf in;          /* came and was not wanted */
    size_t window, kept_up; /* ours; bytes delivered since it last grew */
    struct h2_gone gone;
    int refusal; /* status; 0: none */
    const char *refusal_reason;
    bool to_head; /* client: a HEAD was sent: a length without a body */
    bool want, head_due, final, trailers_came, end_came, end_due, gone_due, space_asked, space_due;
    /* --- what goes --- */
    struct buf out;
    struct message *out_trailers; /* heap; NULL: none */
    uint64_t left;                /* of the content-length that was sent */
    int32_t credit;               /* the peer's, before the SETTINGS that come */
    int64_t stuck_ms;             /* h2_sweep(): since when nothing of it moves; 0: it was not looked at */
    size_t stuck_bytes;
    bool length_sent; /* left counts */
    bool head_out;    /* … has gone into frames */
    bool out_end;     /* all was given */
    bool reset_due;   /* a reset with reset_code follows what was given */
    uint32_t reset_code;
    bool out_ended;  /* … and END_STREAM has gone into frames */
    bool deferred;   /* nghttp2 waits for data */
    bool closed;     /* nghttp2 has forgotten it */
    bool delivering; /* an event runs: must not be destroyed */
};

/* h2.c */
void h2_ask(struct h2 *h);
void h2_due(struct h2_stream *s);
struct h2_stream *h2_stream_make(struct h2 *h);
void h2_stream_destroy(struct h2_stream *s);
void h2_hold(struct h2 *h, size_t bytes);
void h2_release(struct h2 *h, size_t bytes);
void h2_fail(struct h2 *h, const char *error, uint32_t code);

/* h2_in.c */
void h2_in_callbacks(nghttp2_session_callbacks *callbacks);
/* Delivers what the stream has and its owner wants. */
void h2_deliver(struct h2_stream *s);

/* h2_head.c */
/* A field of the head or trailers that come.  0. */
int h2_head_field(struct h2_stream *s, struct message *m, struct slice name, struct slice value, bool sensitive);
/* The first refusal counts.  0. */
int h2_head_refuse(struct h2_stream *s, int status, const char *reason);
/* A request's, which is whole. */
void h2_head_judge(struct h2_stream *s);
void h2_head_framing(struct message *m, bool ends, bool no_body);

/* h2_out.c */
void h2_out_callbacks(nghttp2_session_callbacks *callbacks);
/* Resets with code as soon as what was given has gone out. */
void h2_stream_reset_after(struct h2_stream *s, uint32_t code);

/* h2_guard.c */
/* Sets nghttp2's own limits, those that this release has. */
void h2_guard_options(nghttp2_option *option);
void h2_guard_init(struct h2 *h);
/* A frame that comes: false: one too many, and the connection has been given its GOAWAY. */
bool h2_guard_frame(struct h2 *h, const nghttp2_frame_hd *hd);
/* Our own RST_STREAM for a breach costs the peer as much as its own. */
bool h2_guard_breach(struct h2 *h);
/* Data that we send earns the peer frames about it. */
void h2_guard_sent(struct h2 *h);

/* h2_strict.c */
void h2_strict_init(struct h2 *h);
/* The number of bytes before the frame that is wrong; strict.error and code say how. */
size_t h2_strict_scan(struct h2 *h, struct slice bytes);
/* SETTINGS begin, and have been taken.  false: they make a window larger than 2^31-1 (RFC 9113 §6.9.2). */
void h2_strict_settings_come(struct h2 *h);
bool h2_strict_settings_came(const struct h2 *h);

#endif
