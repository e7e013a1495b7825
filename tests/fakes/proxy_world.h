/* tests/fakes/proxy_world.c: a worker's inside without its processes: real clients, exchanges, pool and token table
 * over socket pairs; the clock, the deadlines and the dialler are fakes, so a test decides what happens when. */
#ifndef SIDEKEY_TESTS_PROXY_WORLD_H
#define SIDEKEY_TESTS_PROXY_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "proxy/client.h"
#include "tests/fakes/fake_clock.h"
#include "tests/fakes/fake_timer.h"
#include "tests/fakes/fake_dial.h"

#define WORLD_HOST "127.0.0.1"

extern struct context world;
extern struct worker_options world_options;
extern struct rule world_rule; /* 127.0.0.1:80, credential "crm", Authorization: Bearer */
extern int world_wants;        /* messages that the token table has sent, and the last one's */
extern enum msg_reason world_want_reason;
extern uint64_t world_want_generation;

/* cmocka's setup and teardown: teardown ends all clients and fails when a timer or a connection is left, or the log
 * holds a token. */
int world_up(void **state);
int world_down(void **state);
/* Lets the loop turn until nothing is left to do. */
void world_turn(void);
/* A new client connection; ours is the far end. */
int world_client(void);
/* The same on the unix socket: the peer's uid is this process's. */
int world_local_client(void);
void say(int fd, const char *text);
/* Everything that can be read now, NUL-terminated; *ret_eof (may be NULL): the peer has ended. Valid until the next
 * call. */
const char *hear(int fd, bool *ret_eof);
/* The far end of the connection that is being dialled. */
int world_upstream(void);
/* What the keeper says. */
void world_token(uint64_t generation, const char *token, int64_t lifetime_ms);
void world_refuse(enum msg_class failure, int64_t retry_after_ms, const char *text);
/* A counter of the worker. */
double world_count(const char *series);
/* Has the peer reset or closed it? */
bool world_closed(int fd);
bool has(const char *text, const char *part);

#endif
