/* app/cmd/run_env.h: the environment of the program that "sidekey run" starts.   The program's own process. */
#ifndef SIDEKEY_APP_CMD_RUN_ENV_H
#define SIDEKEY_APP_CMD_RUN_ENV_H

#include <limits.h>

#include "app/config/config.h"

struct run_env { /* all borrowed */
    const struct config *config;
    const char *dir;      /* the run's directory: bundle.pem, ca.pem, bundle.jks, preload.table */
    const char *preload;  /* the preload library; NULL: that layer is not used */
    const char *password; /* of the proxy */
    bool variables;       /* the env layer is used */
    bool java;            /* also the options of the JVM */
    bool strict;          /* children that the preload library would not be in are not started */
    bool guarded;         /* no name may go direct */
    bool isolated;        /* every connection comes to us: the preload library has only to do with trust */
    uint16_t proxy_port, transparent_port;
};

#define RUN_ENV_PORTS_MAX 64 /* as preload/decide.h */

/* The ports that the layers of this machine redirect: those of HTTP, and those that rules name.  Prints a line for each
 * that does not fit. */
const char *run_env_ports(const struct config *c, char text[RUN_ENV_PORTS_MAX * 6 + 1]);
/* Changes this process's environment: proxy, CA and preload variables are set; what would lead the host of a rule
 * around the proxy is taken out, with a line on standard error; variables that own_env_begin() took out are put back.
 * 0; -errno. */
MUST_CHECK int run_env_apply(const struct run_env *r);

#endif
