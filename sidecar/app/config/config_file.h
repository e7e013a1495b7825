/* app/config/config_file.h: which configuration file, and its bytes. */
#ifndef SIDEKEY_APP_CONFIG_CONFIG_FILE_H
#define SIDEKEY_APP_CONFIG_CONFIG_FILE_H

#include "base/buf.h"
#include "base/err.h"

/* path as given with -c, or NULL: $SIDEKEY_CONFIG, ./sidekey.yaml, $XDG_CONFIG_HOME/sidekey/sidekey.yaml,
 * /etc/sidekey/sidekey.yaml. *ret: heap.  0; -1 with e (none of them exists: it lists them) and *ret_exit = 66; out of
 * memory: 70. */
MUST_CHECK int config_file_find(const char *path, char **ret, int *ret_exit, struct err *e);
/* Appends the content of path ("-", "/dev/fd/N": a descriptor of our caller's).  -1 with e and *ret_exit: 66 (no such
 * file), 77 (no permission, or others could have written it: base/trusted_file.h), 74 (any other). */
MUST_CHECK int config_file_read(const char *path, struct buf *out, int *ret_exit, struct err *e);
#define CONFIG_ADMIN_SOCKET "admin.sock" /* default file name of listen.admin_socket */

/* Defaults that depend on who runs us.  Heap; NULL without memory. */
MUST_CHECK char *config_file_default_state(void);
MUST_CHECK char *config_file_default_publish(const char *state_dir);
MUST_CHECK char *config_file_default_admin_socket(const char *state_dir);

#endif
