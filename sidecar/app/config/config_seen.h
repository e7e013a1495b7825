/* app/config/config_seen.h: what one reading of the configuration has read, as a number: a reload that would read the
 * same again is none.   Main process.   Of the configuration file, of every file that it names (secrets, certificates)
 * and of this system's roots and resolver files counts which file it is, its size and its times, and of the
 * configuration its bytes too.  The environment of a running process does not change. */
#ifndef SIDEKEY_APP_CONFIG_CONFIG_SEEN_H
#define SIDEKEY_APP_CONFIG_CONFIG_SEEN_H

#include <stdint.h>

#include "base/slice.h"

struct config_seen { /* zeroed: nothing yet */
    uint64_t sum;
    bool unknown; /* a program's output is among it: nobody can tell whether that changed */
};

/* These bytes were read. */
void config_seen_bytes(struct config_seen *seen, struct slice bytes);
/* This file was read, or will be.  One that is not there counts as that. */
void config_seen_file(struct config_seen *seen, const char *path);
/* What every process reads, whatever the configuration says: roots, /etc/hosts, /etc/resolv.conf. */
void config_seen_system(struct config_seen *seen);
/* A reload would read the same. */
bool config_seen_same(const struct config_seen *a, const struct config_seen *b);

#endif
