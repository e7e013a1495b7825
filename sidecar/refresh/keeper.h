/* refresh/keeper.h: the keeper process: the only owner of refresh tokens, client secrets and the CA key
 * (docs/architecture.md, docs/refresh-rules.md). */
#ifndef SIDEKEY_REFRESH_KEEPER_H
#define SIDEKEY_REFRESH_KEEPER_H

#include "refresh/credential_spec.h"

/* Runs the keeper in this process until MSG_DRAIN or the supervisor is gone.
 * supervisor_fd: IPC; MSG_WIRE on it brings a descriptor for each worker; says MSG_READY when CA and files are
 * published and the store is open. Returns the exit status: 0 drained; 74 state dir, 77 permission, 78 secrets or seal
 * key: text went to the log. */
int keeper_run(const struct keeper_options *options, int supervisor_fd);

#endif
