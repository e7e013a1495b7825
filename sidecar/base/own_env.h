/* base/own_env.h: what this process takes from its environment block, and what it leaves there.   Every process of
 * ours, one thread, before anything else reads the environment.
 *
 * A variable that holds a secret ({env: NAME}) is moved into a struct secret and its bytes in the block are
 * overwritten, so that neither /proc/PID/environ nor a child shows it.  Variables by which libraries of ours can be
 * made to load code or to write session keys are taken out; a program that "sidekey run" starts gets them back.
 * Children of fork() inherit what was taken; own_env_keep() drops what a process has no use for. */
#ifndef SIDEKEY_BASE_OWN_ENV_H
#define SIDEKEY_BASE_OWN_ENV_H

#include "base/secret.h"

/* Takes out SSLKEYLOGFILE, OPENSSL_CONF and their like.  First call of main(). */
void own_env_begin(void);
/* Puts those back, for a program that is not ours: call it between fork() and exec(). */
void own_env_give_back(void);
/* Takes variable name, all its copies.  A variable that is not set, or was taken before, is no error.  0; -ENOMEM. */
MUST_CHECK int own_env_take(const char *name);
/* The value that was taken, or the one in the environment; ptr NULL: not set.  Valid until own_env_keep(). */
struct slice own_env_get(const char *name);
/* Wipes every taken value whose name keep() refuses; locks the pages of the others again (fork() unlocks them). */
void own_env_keep(bool (*keep)(void *arg, const char *name), void *arg);

#endif
