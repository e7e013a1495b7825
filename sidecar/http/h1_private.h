/* http/h1_private.h: the parser of h1.h seen by its two files: h1.c (messages) and h1_fields.c (their fields). */
#ifndef SIDEKEY_HTTP_H1_PRIVATE_H
#define SIDEKEY_HTTP_H1_PRIVATE_H

#include <llhttp.h>

#include "http/h1.h"
#include "http/h1_chunk.h"
#include "http/h1_lines.h"

enum h1_state {
    STATE_START, /* between messages */
    STATE_START_LF,
    STATE_START_LINE,
    STATE_HEAD,
    STATE_LENGTH,
    STATE_UNTIL_EOF,
    STATE_CHUNKS,
    STATE_TRAILERS,
    STATE_END, /* END has not been handed out yet */
    STATE_CLOSED,
    STATE_UPGRADED,
    STATE_BAD,
};

struct h1 {
    enum h1_role role;
    enum h1_state state;
    enum h1_state after;  /* the state after END */
    unsigned empty_lines; /* skipped before this message */
    bool to_head, to_connect;
    unsigned informational; /* 1xx in a row */
    bool cleaned;           /* a response was not as it should be */
    uint64_t left;          /* STATE_LENGTH: bytes that have not come yet */
    struct lines lines;
    struct chunk chunk;
    llhttp_t llhttp;
    struct message head, trailers;
    struct message *into;            /* the one that llhttp fills now */
    struct message_part line;        /* the start line, whole */
    struct message_part name, value; /* the field that is being read */
    int status;
    const char *reason;
};

/* h1.c: refuses; returns H1_BAD. */
enum h1_event h1_bad(struct h1 *p, int status, const char *reason);

/* h1_fields.c */
/* Adds to a part of the message that is being read; its pieces come in a row.  0; else the parser has refused. */
int h1_append(struct h1 *p, struct message_part *part, const char *at, size_t len);
/* After a start line, and before trailers.  H1_MORE; H1_BAD. */
enum h1_event h1_start_fields(struct h1 *p);
/* H1_HEAD: the empty line was read. */
enum h1_event h1_read_fields(struct h1 *p, struct slice *in);

#endif
