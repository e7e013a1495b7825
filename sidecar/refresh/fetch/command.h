/* refresh/fetch/command.h: runs a configured program that prints a token response, outside the loop.   Keeper only.
 * No shell; standard input and error are /dev/null (its error messages may hold a secret); a process group
 * of its own, which is killed as a whole at the time limit, over the size cap, or when it is cancelled.
 * KUBERNETES_EXEC_INFO is set, so client-go's credential plugins work. Source  rule 6.8;
 * client.authentication.k8s.io/v1 ExecCredential. */
#ifndef SIDEKEY_REFRESH_FETCH_COMMAND_H
#define SIDEKEY_REFRESH_FETCH_COMMAND_H

#include "refresh/fetch/fetch.h"

struct command;

/* argv: NULL-terminated, argv[0] looked up in PATH; borrowed for the call.  timeout_ms: in all.
 * fn is called once, later, never from inside this call: status 200 and the output (FETCH_ANSWER_MAX at most) when the
 * program ended with 0, else status 0, sent false and error.  NULL with e: it could not be started. */
MUST_CHECK struct command *command_start(char *const *argv, int64_t timeout_ms, fetch_fn *fn, void *arg, struct err *e);
/* Kills it; fn will not be called.  Accepts NULL. */
void command_cancel(struct command *c);

#endif
