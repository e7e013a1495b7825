/* refresh/redis/redis_wire.h: the Redis protocol (RESP2) as bytes, by the two pure parts of hiredis.   Keeper only. No
 * sockets. What a server may make us keep is bounded: one reply at most REDIS_REPLY_MAX bytes, at most 64 elements in
 * an array. Source  https://redis.io/docs/latest/develop/reference/protocol-spec/ */
#ifndef SIDEKEY_REFRESH_REDIS_REDIS_WIRE_H
#define SIDEKEY_REFRESH_REDIS_REDIS_WIRE_H

#include <hiredis/hiredis.h>

#include "base/buf.h"
#include "base/err.h"

#define REDIS_REPLY_MAX (9 * 1024 * 1024) /* a sealed state of STATE_MAX_BYTES, and what stands around it */
#define REDIS_COMMAND_MAX (9 * 1024 * 1024)
#define REDIS_ARGS_MAX 16

/* Appends one command.  0; -ENOBUFS, -ENOMEM, -E2BIG (more than REDIS_ARGS_MAX). */
MUST_CHECK int redis_wire_add(struct buf *out, const struct slice *argv, size_t argc);

struct redis_reader;
/* Replies out of bytes, by hiredis.  NULL when out of memory. */
MUST_CHECK struct redis_reader *redis_wire_new(void);
void redis_wire_free(struct redis_reader *r); /* accepts NULL */
/* Takes bytes in.  0; -1 with e: too long, or out of memory. */
MUST_CHECK int redis_wire_feed(struct redis_reader *r, struct slice bytes, struct err *e);
/* The next whole reply, the caller's to free (freeReplyObject).  1; 0: not yet; -1 with e: not RESP2, or over a limit.
 */
MUST_CHECK int redis_wire_next(struct redis_reader *r, redisReply **ret, struct err *e);

/* An error reply that begins with this code ("MOVED"). */
bool redis_wire_is(const redisReply *r, const char *code);
/* Text of a string or status; empty for everything else (r may be NULL). */
struct slice redis_wire_text(const redisReply *r);
/* Element i of an array; NULL when there is none. */
const redisReply *redis_wire_at(const redisReply *r, size_t i);
/* A decimal number, as an integer or as text.  0; -EINVAL. */
MUST_CHECK int redis_wire_u64(const redisReply *r, uint64_t *ret);
/* What an error reply of this server means for the operator and the way out.  Never more of the reply than its code:
 * servers quote what they were sent.  Returns -1. */
int redis_wire_explain(struct err *e, const char *server, const redisReply *r);

/* "0.14.1": the version of hiredis that was built against. */
const char *redis_wire_library(void);

#endif
