/* app/cmd/run_roots.h: keeps the roots that the program trusted before "sidekey run".
 *
 * Each runtime has its own CA variable (env_table.h), and all of them are set to one bundle.  The files that they named
 * before are added to that bundle, with the system's roots, so that a tunnelled host with a private CA stays trusted.
 */
#ifndef SIDEKEY_APP_CMD_RUN_ROOTS_H
#define SIDEKEY_APP_CMD_RUN_ROOTS_H

#include "app/config/config.h"

/* Adds the files that the CA variables of this process name, those in the directories of SSL_CERT_DIR, and the system's
 * bundle where SSL_CERT_FILE stands in for it, to c's extra roots.  A file that is not a readable PEM file is reported
 * on standard error and skipped.  0; -ENOMEM. */
MUST_CHECK int run_roots_add(struct config *c);

#endif
