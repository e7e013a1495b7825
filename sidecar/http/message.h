/* http/message.h: the head of one HTTP message as a model, the same for HTTP/1.1 and HTTP/2.   Pure.
 * Owner  the struct that embeds it, through message_done().  All strings are copied into one buffer of the message (cap
 * 64 KiB), kept over message_clear(), so a connection that serves many requests allocates once. Field names keep the
 * case in which they came; comparison folds ASCII case.  Order and duplicates are kept. Slices that are handed out live
 * until the next call that changes the message; that call itself may be given them. */
#ifndef SIDEKEY_HTTP_MESSAGE_H
#define SIDEKEY_HTTP_MESSAGE_H

#include "base/buf.h"

#define MESSAGE_HEAD_MAX_BYTES (64 * 1024)
#define MESSAGE_LINE_MAX_BYTES (32 * 1024) /* the most that limits.request_line can be */
#define MESSAGE_FIELDS_MAX 1024            /* the most that limits.fields can be (1000), and our own */

/* How the body that follows the head is delimited (RFC 9112 §6). */
enum framing {
    FRAMING_NONE,    /* no body */
    FRAMING_LENGTH,  /* message.length bytes */
    FRAMING_CHUNKED, /* h1: chunked; h2: until END_STREAM with no content-length */
    FRAMING_EOF,     /* responses only: until the connection ends */
};

struct message_part { /* a place in message.text: survives growth */
    uint32_t at, len;
};
struct message_field {
    struct message_part name, value;
    bool sensitive; /* h2: never in a compression table (RFC 7541 §6.2.3) */
};

struct message {
    struct buf text;
    struct message_field *fields; /* heap */
    size_t field_count, field_space;
    struct message_part method, target, reason; /* request: method, target as received (any form); response: reason */
    int status;                                 /* response: 100…999; request: 0 */
    int minor;                                  /* HTTP/1.minor: 0 or 1; h2 counts as 1 */
    enum framing framing;
    uint64_t length; /* FRAMING_LENGTH: body bytes */
    bool keep_alive; /* the connection may be used again after this message (RFC 9112 §9.3) */
    /* response: how long the server keeps an idle connection, Keep-Alive: timeout (RFC 2068 §19.7.1.1); 0: unknown */
    uint32_t idle_s;
    /* members of Connection once it was dropped: the trailers lose the same names (RFC 9110 §7.6.1) */
    struct message_part connection;
    bool expect_100; /* request: Expect: 100-continue */
    bool upgrade;    /* request: has an Upgrade field that Connection names; response: status 101 */
    bool http2;      /* it came by HTTP/2 */
};

/* Empty, without memory; message_done() frees what it has and may be called again. */
void message_init(struct message *m);
void message_done(struct message *m);
/* Empty again, memory kept. */
void message_clear(struct message *m);
/* Deep copy into an initialised message (its old content is dropped).  Returns 0; -ENOMEM. */
MUST_CHECK int message_copy(struct message *to, const struct message *from);

/* The bytes of a part: valid until the message is changed. */
static inline struct slice message_slice(const struct message *m, struct message_part part)
{
    return part.len == 0 ? slice_of(NULL, 0) : slice_of(m->text.data + m->text.start + part.at, part.len);
}
/* Copies bytes into the message's text.  Returns 0; -ENOBUFS (64 KiB), -ENOMEM. */
MUST_CHECK int message_put(struct message *m, struct slice bytes, struct message_part *ret);

static inline struct slice message_method(const struct message *m)
{
    return message_slice(m, m->method);
}
static inline struct slice message_target(const struct message *m)
{
    return message_slice(m, m->target);
}

/* Appends a field.  Returns 0; -ENOBUFS (64 KiB or MESSAGE_FIELDS_MAX: the caller answers 431), -ENOMEM. */
MUST_CHECK int message_add(struct message *m, struct slice name, struct slice value);
/* As message_add(), for a name and a value that are in the text already: nothing is copied. */
MUST_CHECK int message_add_parts(struct message *m, struct message_part name, struct message_part value);
/* Deletes every field of that name; then appends one.  Same errors; on failure all copies are gone. */
MUST_CHECK int message_set(struct message *m, struct slice name, struct slice value);
/* Deletes every field of that name; returns how many there were. */
size_t message_remove(struct message *m, struct slice name);
/* The same, and '_' and '-' in names make no difference: many servers read them as one (CGI, RFC 3875 §4.1.18). */
size_t message_remove_alike(struct message *m, struct slice name);
bool message_has_alike(const struct message *m, struct slice name);
bool message_names_alike(struct slice a, struct slice b);
/* Deletes field number i (the following ones move up). */
void message_remove_at(struct message *m, size_t i);
/* First value under name, or {NULL, 0}; *ret_count (may be NULL) gets how many there are. */
struct slice message_get(const struct message *m, struct slice name, size_t *ret_count);
/* Field i < field_count. */
static inline struct slice message_name_at(const struct message *m, size_t i)
{
    return message_slice(m, m->fields[i].name);
}
static inline struct slice message_value_at(const struct message *m, size_t i)
{
    return message_slice(m, m->fields[i].value);
}
/* True when one of the comma-separated members of any field of that name equals token (ASCII case folded). */
bool message_has_token(const struct message *m, struct slice name, struct slice token);
/* Starts a request / a response in a cleared message.  Returns 0; -ENOBUFS, -ENOMEM. */
MUST_CHECK int message_start_request(struct message *m, struct slice method, struct slice target);
MUST_CHECK int message_start_response(struct message *m, int status, struct slice reason);

#endif
