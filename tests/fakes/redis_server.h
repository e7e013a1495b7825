/* tests/fakes/redis_server.h: a real redis-server of the test's own, on a free port, in a directory that goes with it.
 */
#ifndef SIDEKEY_TESTS_REDIS_SERVER_H
#define SIDEKEY_TESTS_REDIS_SERVER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct redis_server {
    char dir[64];
    char url[64]; /* redis://127.0.0.1:PORT */
    uint16_t port;
    pid_t pid; /* 0: not running */
};

/* Is redis-server installed? */
bool redis_server_there(void);
/* Starts one with these more arguments (NULL-terminated; NULL: none).  0; -1, and what is wrong is on stderr. */
int redis_server_start(struct redis_server *r, const char *const *args);
/* Ends it by this signal and waits; the directory and the port stay. */
void redis_server_stop(struct redis_server *r, int sig);
/* The same port and directory again. */
int redis_server_again(struct redis_server *r, const char *const *args);
/* Ends it and removes the directory. */
void redis_server_free(struct redis_server *r);
/* One command, its words separated by single spaces; its raw RESP answer, cut at size.  0; -1. */
int redis_server_ask(const struct redis_server *r, const char *words, char *answer, size_t size);
/* How often a command was called, as "INFO commandstats" says (0: never). */
unsigned long redis_server_calls(const struct redis_server *r, const char *command);

#endif
