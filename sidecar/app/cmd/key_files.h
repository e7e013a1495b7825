/* app/cmd/key_files.h: key files without a secret, for programs that insist on one (credentials.NAME.placeholder_file):
 * what they hold is the credential's placeholder, or the throw-away key (crypto/throwaway.h), and it is of use with
 * this sidekey alone: a rule with `answer: token` takes what programs do with it. */
#ifndef SIDEKEY_APP_CMD_KEY_FILES_H
#define SIDEKEY_APP_CMD_KEY_FILES_H

#include "app/config/config.h"

/* Writes the files of all credentials of c into dir (0600; key-NAME.json or .pem), over those of an earlier time, and
 * calls fn for each variable with the path.  A variable that two credentials want goes to the first.  c:
 * loaded with key files (cmd.h).  Returns 0; -1 with e; what fn returned when that is not 0. */
MUST_CHECK int key_files_write(const struct config *c, const char *dir,
                               int (*fn)(void *arg, const char *variable, const char *path), void *arg, struct err *e);

#endif
