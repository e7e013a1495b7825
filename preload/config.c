#include "preload/preload.h"

#include <dlfcn.h>
#include <string.h>
#include <sys/mman.h>

extern char **environ;

static const char *const hook_names[HOOK_COUNT] = {
#define X(name) #name,
    PRELOAD_HOOKS(X)
#undef X
};

/* Handed on to children whatever environment they are given: ours, and those by which runtimes find a CA bundle. */
static const char *const kept_names[] = {
    "SIDEKEY_PRELOAD_TABLE",
    "SIDEKEY_PRELOAD_PORT",
    "SIDEKEY_PRELOAD_CA",
    "SIDEKEY_PRELOAD_JKS",
    "SIDEKEY_PRELOAD_ROOT",
    "SIDEKEY_PRELOAD_PORTS",
    "SIDEKEY_PRELOAD_BYPASS",
    "SIDEKEY_PRELOAD_NAMES",
    "SIDEKEY_PRELOAD_PROXIES",
    "SIDEKEY_PRELOAD_PROXY",
    "SIDEKEY_PRELOAD_REPORT",
    "SIDEKEY_PRELOAD_DISABLE",
    "SIDEKEY_PRELOAD_STRICT",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
    "AWS_CA_BUNDLE",
    "PIP_CERT",
    "npm_config_cafile",
    "YARN_HTTPS_CA_FILE_PATH",
    "DENO_CERT",
    "HTTPLIB2_CA_CERTS",
    "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "CARGO_HTTP_CAINFO",
    "PERL_LWP_SSL_CA_FILE",
    "HTTPS_CA_FILE",
    "HEX_CACERTS_PATH",
    "NIX_SSL_CERT_FILE",
    "WGETRC",
    "PHP_INI_SCAN_DIR",
    "APT_CONFIG",
};
#define OWN_NAMES 13 /* of them are ours; the others are kept only when we were given a bundle */

static struct preload preload;
static int preload_ready;
static struct table *shared_table;
static any_fn *real[HOOK_COUNT];

/* The second try: musl since 1.2.4 has no open64 for dlsym() to find, though old programs still call it; its open is
 * the same. */
static void *without_64(const char *name)
{
    char plain[32];
    size_t n = strlen(name);
    if (n < 3 || n >= sizeof plain || memcmp(name + n - 2, "64", 2) != 0)
        return NULL;
    memcpy(plain, name, n - 2);
    plain[n - 2] = '\0';
    return dlsym(RTLD_NEXT, plain);
}

any_fn *preload_real(enum hook h)
{
    any_fn *fn = __atomic_load_n(&real[h], __ATOMIC_ACQUIRE);
    if (fn)
        return fn;
    int saved = errno;
    void *found = dlsym(RTLD_NEXT, hook_names[h]);
    if (!found)
        found = without_64(hook_names[h]);
    if (!found)
        (void)dlerror();            /* or the program would find our question in its next dlerror() */
    memcpy(&fn, &found, sizeof fn); /* ISO C has no cast from object to function pointer */
    __atomic_store_n(&real[h], fn, __ATOMIC_RELEASE);
    errno = saved;
    return fn;
}

static const char *env_value(const char *name)
{
    size_t n = strlen(name);
    for (char **e = environ; *e; e++)
        if (memcmp(*e, name, strnlen(*e, n)) == 0 && (*e)[n] == '=')
            return *e + n + 1;
    return NULL;
}

/* Appends "name=value" (name NULL: value alone) with its NUL.  Returns its offset; 0 when there is no room: offset 0 is
 * never given out. */
static uint16_t keep_text(struct preload *p, const char *name, const char *value, size_t value_length)
{
    size_t at = p->text_length ? p->text_length : 1, n = name ? strlen(name) + 1 : 0;
    if (at + n + value_length + 1 > sizeof p->text)
        return 0;
    if (n) {
        memcpy(p->text + at, name, n - 1);
        p->text[at + n - 1] = '=';
    }
    memcpy(p->text + at + n, value, value_length);
    p->text_length = (uint16_t)(at + n + value_length + 1);
    return (uint16_t)at;
}

/* LD_PRELOAD is separated by colons or spaces.  The element is kept as it was written: it may hold $LIB. */
static void keep_own_element(struct preload *p)
{
    const char *at = env_value("LD_PRELOAD");
    while (at && *at) {
        size_t n = strcspn(at, ": ");
        if (memmem(at, n, "libsidekey-preload", 18)) {
            p->preload = keep_text(p, NULL, at, n);
            return;
        }
        at += n;
        at += strspn(at, ": ");
    }
}

static void keep_variables(struct preload *p)
{
    size_t count = p->ca[0] ? sizeof kept_names / sizeof kept_names[0] : OWN_NAMES;
    keep_own_element(p);
    for (size_t i = 0; i < count && p->keep_count < sizeof p->keep / sizeof p->keep[0]; i++) {
        const char *value = env_value(kept_names[i]);
        uint16_t at = value ? keep_text(p, kept_names[i], value, strlen(value)) : 0;
        if (at)
            p->keep[p->keep_count++] = at;
    }
}

static void switch_off(struct preload *p, const char *list)
{
    while (list && *list) {
        size_t n = strcspn(list, ", ");
        for (size_t h = 0; h < HOOK_COUNT; h++)
            if (strlen(hook_names[h]) == n && memcmp(hook_names[h], list, n) == 0)
                p->off[h] = true;
        list += n;
        list += strspn(list, ", ");
    }
}

static void take_path(char *dst, size_t size, const char *value)
{
    size_t n = value ? strlen(value) : 0;
    if (n && n < size)
        memcpy(dst, value, n + 1);
}

static void read_environment(struct preload *p)
{
    const char *table = env_value("SIDEKEY_PRELOAD_TABLE"), *port = env_value("SIDEKEY_PRELOAD_PORT");
    take_path(p->table_path, sizeof p->table_path, table);
    take_path(p->ca, sizeof p->ca, env_value("SIDEKEY_PRELOAD_CA"));
    take_path(p->root, sizeof p->root, env_value("SIDEKEY_PRELOAD_ROOT"));
    take_path(p->report, sizeof p->report, env_value("SIDEKEY_PRELOAD_REPORT"));
    take_path(p->jks, sizeof p->jks, env_value("SIDEKEY_PRELOAD_JKS"));
    const char *strict = env_value("SIDEKEY_PRELOAD_STRICT");
    p->strict = strict && *strict;
    p->listen_port = decide_port_number(port);
    /* one without the other is a mistake: connections fail rather than go direct */
    p->routing = (table && *table) || (port && *port);
    decide_set_ports(&p->policy, env_value("SIDEKEY_PRELOAD_PORTS"));
    decide_set_bypass(&p->policy, env_value("SIDEKEY_PRELOAD_BYPASS"));
    decide_set_names(&p->policy, env_value("SIDEKEY_PRELOAD_NAMES"));
    p->proxy_port = decide_port_number(env_value("SIDEKEY_PRELOAD_PROXY"));
    decide_set_proxies(&p->policy, env_value("SIDEKEY_PRELOAD_PROXIES"));
    switch_off(p, env_value("SIDEKEY_PRELOAD_DISABLE"));
    keep_variables(p);
}

/* Two threads may both come here before the constructor; each makes the same bytes and copies them over themselves.
 * Never inlined: 20 KiB of stack are for the first call alone, not for every hook in a signal handler. */
__attribute__((noinline)) static void initialise(void)
{
    struct preload fresh;
    memset(&fresh, 0, sizeof fresh);
    read_environment(&fresh);
    memcpy(&preload, &fresh, sizeof fresh);
    __atomic_store_n(&preload_ready, 1, __ATOMIC_RELEASE);
}

const struct preload *preload_get(void)
{
    if (!__atomic_load_n(&preload_ready, __ATOMIC_ACQUIRE) && environ)
        initialise();
    return &preload;
}

const struct preload *preload_routing(enum hook h)
{
    const struct preload *p = preload_get();
    return p->routing && !p->off[h] ? p : NULL;
}

struct table *preload_table(void)
{
    struct table *t = __atomic_load_n(&shared_table, __ATOMIC_ACQUIRE), *none = NULL;
    const struct preload *p = preload_get();
    if (t || p->table_path[0] == '\0' || p->listen_port == 0)
        return t;
    int saved = errno;
    t = shared_map(p->table_path);
    if (t && !__atomic_compare_exchange_n(&shared_table, &none, t, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
        munmap(t, sizeof *t);
        t = none;
    }
    errno = saved;
    return t;
}

/* So that the first hook that is called in a signal handler or a vfork child has nothing left to look up. */
__attribute__((constructor)) static void warm_up(void)
{
    const struct preload *p = preload_get();
    for (int h = 0; h < HOOK_COUNT; h++)
        (void)preload_real((enum hook)h);
    if (p->routing)
        (void)preload_table();
}
