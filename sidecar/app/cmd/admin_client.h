/* app/cmd/admin_client.h: one question to the admin listener of a running sidekey, for the commands that ask.   Main
 * process; blocks for at most 30 s. */
#ifndef SIDEKEY_APP_CMD_ADMIN_CLIENT_H
#define SIDEKEY_APP_CMD_ADMIN_CLIENT_H

#include "base/buf.h"
#include "base/err.h"
#include "net/address.h"

#define ADMIN_CLIENT_ANSWER_MAX (4 * 1024 * 1024) /* as net/ipc/msg_parts.h carries */

/* Appends the answer's body to out; *ret_status gets its status.  0; -1 with e naming the address and the way out. */
MUST_CHECK int admin_client_ask(const struct address *admin, const char *method, const char *path, int *ret_status,
                                struct buf *out, struct err *e);

#endif
