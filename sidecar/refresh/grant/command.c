#include "refresh/grant/grant.h"

/* A program of the operator's prints the answer (refresh/fetch/command.h runs it). */
const struct grant grant_command = { "command", false, GRANT_BY_COMMAND, false, NULL };
