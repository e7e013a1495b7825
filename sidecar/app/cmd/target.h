/* app/cmd/target.h: what kind of program "sidekey run" is asked to start, and whether the preload layer reaches it.
 * Reads files only.
 *
 * A layer that does not reach a program is a silent bypass: the program goes direct with its placeholder.  So the
 * program is looked at before it starts; for a script, the interpreter that "#!" names.  The library's exec hooks look
 * at its children in the same way (preload/elf.h). */
#ifndef SIDEKEY_APP_CMD_TARGET_H
#define SIDEKEY_APP_CMD_TARGET_H

#include <limits.h>

#include "base/err.h"
#include "preload/elf.h"

struct target {
    enum elf_kind kind;    /* never ELF_SCRIPT */
    char path[PATH_MAX];   /* the file that the kernel loads: of a script its interpreter */
    char script[PATH_MAX]; /* "": path is the program itself */
};

/* "a static program", for people. */
const char *target_text(enum elf_kind kind);
/* Inspects the program that execvp(name) would start. 0; -1 with e: the program does not exist, or is not executable
 * (execvp() would fail too). */
MUST_CHECK int target_inspect(const char *name, struct target *ret, struct err *e);
/* May LD_PRELOAD reach it? */
bool target_preloads(enum elf_kind kind);
/* What is known, by its name, about a program that gets proxy variables and no library. */
enum target_proxy {
    TARGET_PROXY_UNKNOWN, /* or it depends on the script: "python3" */
    TARGET_PROXY_HONOURS, /* it always reads HTTPS_PROXY: "curl" */
    TARGET_PROXY_IGNORES, /* its own HTTP client does not, unless told otherwise: "java" */
};
/* By the name of the program, and of the script that it runs. */
enum target_proxy target_proxy(const struct target *t);

#endif
