/* app/cmd/env_table.h: the proxy and CA variables that programs of every runtime need.   Pure, but for
 * env_table_own_host().  A pre-set variable of higher rank silently defeats one of lower rank, so all of them are set,
 * always. */
#ifndef SIDEKEY_APP_CMD_ENV_TABLE_H
#define SIDEKEY_APP_CMD_ENV_TABLE_H

#include "base/buf.h"

/* In a pod: names inside the cluster, and the API server by its service variable, which the kubelet fills in. */
#define ENV_BYPASS_CLUSTER ".svc,.cluster.local,$(KUBERNETES_SERVICE_HOST)"

enum env_kind {
    ENV_PROXY,    /* "http://user:password@host:port" */
    ENV_HOST,     /* the proxy's host alone, … */
    ENV_PORT,     /* … its port */
    ENV_USER,     /* who we say we are, when there is a password, … */
    ENV_PASSWORD, /* … and the password alone */
    ENV_BYPASS,   /* hosts that go direct: ours and the old value */
    ENV_BUNDLE,   /* replaces the runtime's roots: system roots and our CA together */
    ENV_CA,       /* is added to the runtime's roots: our CA alone */
    ENV_CONSTANT, /* a switch */
    ENV_JAVA,     /* options for the JVM, before the old value; only when asked for, since the JVM prints them */
};

struct env_row {
    const char *name;
    enum env_kind kind;
    const char *value; /* ENV_CONSTANT */
};

struct env_inputs {          /* all borrowed */
    const char *host, *port; /* of the proxy, as clients see it; an IPv6 host without brackets */
    const char *password;    /* NULL: the proxy is open.  [A-Za-z0-9_-] only: some clients do not decode it */
    const char *bundle, *ca; /* paths */
    const char *java_trust;  /* a JKS with our CA; NULL: none */
    bool java;
    bool merged;                          /* the files that the CA variables named before are in the bundle */
    const char *(*old)(const char *name); /* the variable as it was (getenv); NULL: nothing is merged */
    const char *more_bypass;              /* more hosts that go direct; NULL: none */
    /* Hosts of rules ("api.test", "*.api.test"), NULL-terminated; NULL: none are known.  An old entry of NO_PROXY that
     * covers one of them would lead it around the proxy: it is left out, and on_removed (NULL: silent) is called. */
    const char *const *rule_hosts;
    void (*on_removed)(void *arg, const char *name, const char *entry, const char *host);
};

/* Called for each variable; value is valid during the call.  Non-zero stops the walk. */
typedef int env_fn(void *arg, const char *name, const char *value);

#define ENV_HOST_MAX 256
/* The machine's own name, as more_bypass for programs of this machine: they ask themselves, not us.  NULL: none that
 * can stand in a list. */
const char *env_table_own_host(char name[ENV_HOST_MAX]);
/* The rows, up to one without a name: for those who must know which variables held a bundle before. */
const struct env_row *env_table_rows(void);
/* The first of hosts that an entry of NO_PROXY covers by the reading of any client (they differ: curl and Python take
 * "a.test" for all names below it too, Go and Node take "*.a.test", all of them "*"); NULL: none. */
const char *env_table_covers(struct slice entry, const char *const *hosts);
/* Every variable with its value, in the table's order.  0; what fn returned; -ENOMEM, -ENOBUFS. */
MUST_CHECK int env_table_each(const struct env_inputs *in, env_fn *fn, void *arg);

#endif
