#include "app/cmd/run_env.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "app/cmd/env_table.h"
#include "app/cmd/run_dir.h"
#include "app/cmd/run_files.h"
#include "base/own_env.h"
#include "base/probe_host.h"

#define PRELOAD_NAMES_MAX 4000 /* of SIDEKEY_PRELOAD_NAMES: a longer list is left out, then every name comes to us */

static int set_one(void *arg, const char *name, const char *value)
{
    const struct run_env *r = arg;
    bool proxy = strcasestr(name, "proxy") && !strstr(name, "ENV_PROXY");
    if (proxy && !r->variables)
        return unsetenv(name); /* what goes through the preload layer must not come by a proxy as well */
    return setenv(name, value, 1);
}

static int add_java_options(const char *trust)
{
    char text[PATH_MAX * 2];
    const char *old = getenv("JDK_JAVA_OPTIONS");
    snprintf(text, sizeof text, "%s%s-Djavax.net.ssl.trustStore=%s", old ? old : "", old ? " " : "", trust);
    return setenv("JDK_JAVA_OPTIONS", text, 1);
}

static void report_bypass(void *arg, const char *name, const char *entry, const char *host)
{
    (void)arg;
    fprintf(stderr, "sidekey run: %s has \"%s\", which covers %s; a rule names that host, so the entry is removed\n",
            name, entry, host);
}

static int set_proxy_variables(const struct run_env *r, struct run_proxies *before)
{
    char port[8], bundle[PATH_MAX], ca[PATH_MAX], jks[PATH_MAX], own_host[ENV_HOST_MAX];
    snprintf(port, sizeof port, "%u", r->proxy_port);
    run_dir_file(r->dir, "bundle.pem", bundle);
    run_dir_file(r->dir, "ca.pem", ca);
    run_dir_file(r->dir, "bundle.jks", jks);
    struct env_inputs in = { .host = "127.0.0.1",
                             .port = port,
                             .password = r->password,
                             .bundle = bundle,
                             .ca = ca,
                             .java_trust = jks,
                             .merged = true,
                             .java = r->java && r->variables,
                             .more_bypass = env_table_own_host(own_host),
                             .rule_hosts = (const char *const *)r->config->permit_hosts,
                             .on_removed = report_bypass,
                             .old = (const char *(*)(const char *))getenv };
    int failed = run_proxies_take_out(before);
    if (failed == 0)
        failed = env_table_each(&in, set_one, (void *)(uintptr_t)r);
    if (failed == 0) /* "": none, also where a file names one */
        failed = run_proxies_override_git(r->variables ? getenv("https_proxy") : "");
    if (failed == 0 && r->variables && !r->java)
        failed = run_proxies_override_java("127.0.0.1", port);
    if (failed == 0)
        failed = run_files_write(r->dir, r->variables ? getenv("https_proxy") : NULL, before);
    if (failed == 0 && r->java && !r->variables)
        failed = add_java_options(jks);
    return failed;
}

const char *run_env_ports(const struct config *c, char text[RUN_ENV_PORTS_MAX * 6 + 1])
{
    uint16_t ports[RUN_ENV_PORTS_MAX] = { 80, 443 };
    size_t count = 2, len = 0;
    for (size_t i = 0; i < c->rule_count; i++) {
        size_t at = 0;
        while (at < count && ports[at] != c->rules[i].port)
            at++;
        if (at < count)
            continue;
        if (count == RUN_ENV_PORTS_MAX) {
            fprintf(stderr,
                    "sidekey run: the rules name more than %d ports; the preload layer does not cover port %u\n",
                    RUN_ENV_PORTS_MAX, c->rules[i].port);
            continue;
        }
        ports[count++] = c->rules[i].port;
    }
    for (size_t i = 0; i < count; i++)
        len += (size_t)sprintf(text + len, "%s%u", i ? "," : "", ports[i]);
    return text;
}

/* Only the hosts of rules, and the one of "sidekey doctor", come to us: every other name resolves and connects as it
 * does without us.  Where hosts without a rule are refused or reported, and under the guard,
 * all names have to come. */
static int set_preload_names(const struct run_env *r)
{
    const struct config *c = r->config;
    char text[PRELOAD_NAMES_MAX] = "";
    size_t len = 0, count = 0;
    while (c->permit_hosts[count])
        count++;
    if (c->unmatched != UNMATCHED_TUNNEL || r->guarded || count == 0)
        return unsetenv("SIDEKEY_PRELOAD_NAMES");
    for (size_t i = 0; i <= count; i++) {
        const char *host = i < count ? c->permit_hosts[i] : PROBE_HOST;
        int more = snprintf(text + len, sizeof text - len, "%s%s", i ? "," : "", host);
        if (more < 0 || (size_t)more >= sizeof text - len)
            return unsetenv("SIDEKEY_PRELOAD_NAMES");
        len += (size_t)more;
    }
    return setenv("SIDEKEY_PRELOAD_NAMES", text, 1);
}

/* What a run around this one has set.  Empty, and not unset: its exec hook would put them back. */
static int forget_routes(void)
{
    static const char *const names[] = {
        "SIDEKEY_PRELOAD_TABLE",  "SIDEKEY_PRELOAD_PORT",    "SIDEKEY_PRELOAD_REPORT",
        "SIDEKEY_PRELOAD_PROXY",  "SIDEKEY_PRELOAD_PROXIES", "SIDEKEY_PRELOAD_PORTS",
        "SIDEKEY_PRELOAD_BYPASS", "SIDEKEY_PRELOAD_NAMES",   "SIDEKEY_PRELOAD_STRICT"
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (getenv(names[i]) && setenv(names[i], "", 1) != 0)
            return -errno;
    return 0;
}

/* Also where the library is that of a run around this one, which would show the program that run's CA. */
static int set_preload_trust(const struct run_env *r)
{
    char path[PATH_MAX];
    if (!r->preload && !getenv("SIDEKEY_PRELOAD_CA"))
        return 0;
    if (setenv("SIDEKEY_PRELOAD_CA", run_dir_file(r->dir, "bundle.pem", path), 1) != 0
        || setenv("SIDEKEY_PRELOAD_ROOT", run_dir_file(r->dir, "ca.pem", path), 1) != 0
        || setenv("SIDEKEY_PRELOAD_JKS", run_dir_file(r->dir, "bundle.jks", path), 1) != 0)
        return -errno;
    return 0;
}

static int set_preload_variables(const struct run_env *r, const struct run_proxies *before)
{
    char text[PATH_MAX * 2], path[PATH_MAX], ports[RUN_ENV_PORTS_MAX * 6 + 1];
    const char *old = getenv("LD_PRELOAD");
    snprintf(text, sizeof text, "%s%s%s", r->preload, old && *old ? ":" : "", old ? old : "");
    if (setenv("LD_PRELOAD", text, 1) != 0)
        return -errno;
    if (r->isolated)
        return 0;
    snprintf(text, sizeof text, "%u", r->proxy_port);
    if (setenv("SIDEKEY_PRELOAD_PROXY", text, 1) != 0
        || (before->list[0] ? setenv("SIDEKEY_PRELOAD_PROXIES", before->list, 1) : unsetenv("SIDEKEY_PRELOAD_PROXIES"))
               != 0)
        return -errno;
    snprintf(text, sizeof text, "%u", r->transparent_port);
    if (setenv("SIDEKEY_PRELOAD_PORT", text, 1) != 0
        || setenv("SIDEKEY_PRELOAD_TABLE", run_dir_file(r->dir, "preload.table", path), 1) != 0
        || setenv("SIDEKEY_PRELOAD_REPORT", run_dir_file(r->dir, "report", path), 1) != 0
        || (r->strict ? setenv("SIDEKEY_PRELOAD_STRICT", "1", 1) : unsetenv("SIDEKEY_PRELOAD_STRICT")) != 0
        || setenv("SIDEKEY_PRELOAD_PORTS", run_env_ports(r->config, ports), 1) != 0 || set_preload_names(r) != 0)
        return -errno;
    return 0;
}

int run_env_apply(const struct run_env *r)
{
    own_env_give_back(); /* the variables of {env: …} were removed when the configuration was read */
    struct run_proxies before = { .parent_known = r->config->parent.url != NULL };
    int failed = set_proxy_variables(r, &before);
    if (!failed && r->isolated)
        failed = forget_routes();
    if (!failed)
        failed = set_preload_trust(r);
    return failed || !r->preload ? failed : set_preload_variables(r, &before);
}
