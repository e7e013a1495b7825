/* app/cmd/ask.h: what the commands share that ask a running sidekey.   Main process. */
#ifndef SIDEKEY_APP_CMD_ASK_H
#define SIDEKEY_APP_CMD_ASK_H

#include "app/cmd/admin_client.h"
#include "app/cmd/cmd.h"

/* One question to the running sidekey, whose answer is appended to body.  EX_OK; EX_UNAVAILABLE: it says no; else an
 * exit status, and the reason was printed for the command of that name. */
MUST_CHECK int ask(const struct config *config, const char *name, const char *method, const char *path,
                   struct buf *body);
/* Whom to ask, for commands that need nothing else of the configuration and do not judge it: admin (IP:PORT or a
 * socket's path; NULL: not given), else --set and $SIDEKEY_LISTEN_ADMIN, else the running sidekey (run_file.h; with -c:
 * the one of that file), else the configuration, else the defaults.  The caller's, through config_free(); NULL:
 * *ret_exit, and the reason was printed. */
MUST_CHECK struct config *ask_config(struct cmd_config *c, const char *name, const char *admin, int *ret_exit);

#endif
