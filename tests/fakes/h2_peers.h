/* Two ends of the HTTP/2 codec with nothing between them, each stream writing down what it hears; and frames by hand.
 */
#ifndef TESTS_FAKES_H2_PEERS_H
#define TESTS_FAKES_H2_PEERS_H

#include "http/h2.h"

#define PEER_STREAMS 320

struct peer;
struct peer_stream {
    struct peer *peer;
    struct h2_stream *s; /* NULL: let go, or gone */
    char heard[4096];    /* "head GET /a; data 5; end; " */
    size_t bytes;
    char free_at; /* 'h' 'd' 'e': lets go inside that event */
    bool wants;
    struct message *head;
};
struct peer {
    struct h2 *h;
    struct h2_budget *budget;
    struct peer_stream streams[PEER_STREAMS];
    size_t count;
    int failed;                  /* of h2_feed() */
    bool settled, leaving, lazy; /* lazy: its new streams want nothing */
    char free_at;                /* of its new streams */
    char opened[256];            /* "0" or "421 scheme_differs", of the last that came */
    void (*on_open)(struct peer_stream *ps, struct message *head);
};

void peer_up(struct peer *p, enum h2_role role, struct h2_budget *budget);
void peer_down(struct peer *p);
/* Client: a stream that will send head. */
struct peer_stream *peer_stream_new(struct peer *p);
/* Carries bytes both ways until neither has any. */
void peers_talk(struct peer *a, struct peer *b);
/* Feeds bytes to one end, pulls what it answers to out (NULL: thrown away). */
void peer_feed(struct peer *p, struct slice bytes, struct buf *out);

/* --- frames by hand (RFC 9113 §4.1) --- */
void frame_add(struct buf *to, unsigned type, unsigned flags, uint32_t stream, struct slice payload);
/* A field as a literal without indexing, without Huffman (RFC 7541 §6.2.2). */
void frame_field(struct buf *to, struct slice name, struct slice value);
/* The client's preface and an empty SETTINGS. */
void frame_preface(struct buf *to);
/* The frames in bytes as words: "settings window rst:8 goaway:b headers+es data:5+es"; each frame but SETTINGS,
 * WINDOW_UPDATE and PING that is not asked for. */
const char *frames_say(struct slice bytes, char *text, size_t size);

#endif
