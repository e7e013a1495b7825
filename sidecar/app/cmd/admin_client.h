/* app/cmd/admin_client.h: one question to a running sidekey, for the commands that ask: on listen.admin_socket where it
 * is, else on listen.admin.   Main process; blocks for at most 30 s. */
#ifndef SIDEKEY_APP_CMD_ADMIN_CLIENT_H
#define SIDEKEY_APP_CMD_ADMIN_CLIENT_H

#include "app/config/config.h"
#include "base/buf.h"
#include "base/err.h"

#define ADMIN_CLIENT_ANSWER_MAX (4 * 1024 * 1024) /* as net/ipc/msg_parts.h carries */

/* Appends the answer's body to out; *ret_status gets its status.  0; else an exit status, with e, which names the
 * address and says what to do: EX_CONFIG (both are off), EX_UNAVAILABLE. */
MUST_CHECK int admin_client_ask(const struct config *c, const char *method, const char *path, int *ret_status,
                                struct buf *out, struct err *e);

#endif
