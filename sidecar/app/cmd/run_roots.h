/* app/cmd/run_roots.h: the roots that the program trusted before, so that "sidekey run" takes none of them away.
 *
 * Each runtime has a CA variable of its own (env_table.h), and all of them are set to one bundle.  What they named
 * before goes into that bundle too, with the system's roots: a host of a private CA that we only tunnel stays trusted.
 */
#ifndef SIDEKEY_APP_CMD_RUN_ROOTS_H
#define SIDEKEY_APP_CMD_RUN_ROOTS_H

#include "app/config/config.h"

/* Adds the files that the CA variables of this process name, those in the directories of SSL_CERT_DIR, and the system's
 * bundle where SSL_CERT_FILE stands in for it, to c's extra roots.  What is no readable PEM file is reported on
 * standard error and left out.  0; -ENOMEM. */
MUST_CHECK int run_roots_add(struct config *c);

#endif
