/* app/cmd/target.h: what kind of program "sidekey run" is asked to start, and which layers reach it.   Reads files
 * only.
 *
 * A layer that does not reach a program is a silent bypass: the program goes direct with its placeholder.  So the
 * program is looked at before it starts: the ELF header and its interpreter (ld-linux or ld-musl), Go's build note, the
 * set-user-ID bits, file capabilities; for a script the interpreter that "#!" names.  The preload library looks at the
 * children that a program starts (preload/target.c). */
#ifndef SIDEKEY_APP_CMD_TARGET_H
#define SIDEKEY_APP_CMD_TARGET_H

#include <limits.h>
#include <stdbool.h>

#include "base/err.h"

enum target_kind {
    TARGET_DYNAMIC,    /* the loader reads LD_PRELOAD: glibc or musl */
    TARGET_STATIC,     /* no loader: only proxy variables reach it */
    TARGET_GO,         /* … and its resolver and connect() are its own even when it is dynamic */
    TARGET_FOREIGN,    /* another ELF class or machine than the preload library's */
    TARGET_PRIVILEGED, /* set-user-ID, set-group-ID or file capabilities: the loader ignores LD_PRELOAD */
    TARGET_UNKNOWN,    /* not ELF, or not readable: nothing is known */
};

struct target {
    enum target_kind kind;
    char path[PATH_MAX];   /* the file that the kernel loads: of a script its interpreter */
    char script[PATH_MAX]; /* "": path is the program itself */
    const char *what;      /* "a static program", for people */
};

/* Looks at the program that execvp(name) would start.  0; -1 with e: there is no such program, or it is not executable
 * (then execvp() will say the same). */
MUST_CHECK int target_inspect(const char *name, struct target *ret, struct err *e);
/* May LD_PRELOAD reach it? */
bool target_preloads(const struct target *t);

#endif
