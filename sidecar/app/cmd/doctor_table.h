/* app/cmd/doctor_table.h: the runtimes that "sidekey doctor" knows.   A table; pure, but for looking into PATH.
 *
 * A script is for sh(1): $1 the program, $2 the host to ask, $3 empty or "insecure" (do not verify the certificate),
 * $4 a directory for files.  It makes one request as an ordinary program of that runtime would, with all defaults, and
 * prints the answer. */
#ifndef SIDEKEY_APP_CMD_DOCTOR_TABLE_H
#define SIDEKEY_APP_CMD_DOCTOR_TABLE_H

#include <limits.h>

#include "base/slice.h"

/* A script prints this and the reason when its runtime can make no request at all. */
#define DOCTOR_CANNOT "sidekey-doctor cannot: "
/* A script prints this and "NAME=VALUE": with that variable the runtime would read the proxy variables. */
#define DOCTOR_WISH "sidekey-doctor wish: "

struct doctor_runtime {
    const char *name;            /* for people */
    const char *const *programs; /* by which it is found, NULL-terminated, the best first */
    const char *script;
    const char *const *proxy; /* the variables that it reads for https:// URLs, NULL-terminated; NULL: none */
    const char *ca;           /* the variable through which it trusts a CA; NULL: none */
    const char *ca_value;     /* … its value, where %s is the directory with the published CA files */
};

/* Up to one without a name. */
extern const struct doctor_runtime doctor_runtimes[];

/* Finds the program of a runtime in PATH.  false: it is not installed. */
bool doctor_table_find(const struct doctor_runtime *runtime, char ret_path[PATH_MAX]);
/* The runtime whose program the file name of path is ("python3.11" is "python3"); NULL: none. */
const struct doctor_runtime *doctor_table_of(const char *path);

#endif
