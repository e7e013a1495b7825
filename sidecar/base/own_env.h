/* base/own_env.h: removes secrets and dangerous variables from the environment block of this process.   Every process
 * of ours, one thread, before anything else reads the environment.
 *
 * A variable that holds a secret ({env: NAME}) is moved into a struct secret and its bytes in the block are
 * overwritten, so that neither /proc/PID/environ nor a child shows it.  Variables that make a library load code or
 * write session keys are removed; a program that "sidekey run" starts gets them back. Children of fork() inherit the
 * removed values; own_env_keep() drops those that a process does not need. */
#ifndef SIDEKEY_BASE_OWN_ENV_H
#define SIDEKEY_BASE_OWN_ENV_H

#include "base/secret.h"

/* Takes out SSLKEYLOGFILE, OPENSSL_CONF and their like.  First call of main(). */
void own_env_begin(void);
/* Puts those back, for a program that is not ours: call it between fork() and exec(). */
void own_env_give_back(void);
/* Moves all copies of the variable name out of the block. Not an error when the variable is not set or was moved
 * before.  0; -ENOMEM. */
MUST_CHECK int own_env_take(const char *name);
/* The value that was taken, or the one in the environment; ptr NULL: not set.  Valid until own_env_keep(). */
struct slice own_env_get(const char *name);
/* Wipes every taken value whose name keep() refuses; locks the pages of the others again (fork() unlocks them). */
void own_env_keep(bool (*keep)(void *arg, const char *name), void *arg);

/* The environment block as this process was started with, also what was taken: for the exec of another sidekey, with
 * environ = this.  NULL: no memory.  own_env_whole_free() wipes it. */
MUST_CHECK char **own_env_whole(void);
void own_env_whole_free(char **block);

#endif
