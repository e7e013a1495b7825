#include "app/cmd/run_proxies.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "app/cmd/run_home.h"
#include "http/authority.h"

extern char **environ;

#define GIT_KEYS_MAX 16
#define JAVA_TEXT_MAX 8192

static const char *const java_variables[] = { "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS" };
static bool java_had_proxy[3];
static char *git_keys[GIT_KEYS_MAX + 1]; /* "http.https://x.test/.proxy" */

/* --- the list --- */

/* "http://user:password@host:port/", "host:port", "socks5h://host". */
static bool place_of(const char *value, struct authority *ret)
{
    struct slice text = slice_str(value);
    const char *scheme = strstr(value, "://");
    if (scheme)
        text = slice_str(scheme + 3);
    text.len = strcspn(text.ptr, "/ \t\"");
    for (size_t at; (at = slice_find(text, '@')) < text.len;)
        text = slice_skip(text, at + 1);
    return text.len && authority_parse(text, SCHEME_HTTP, 1080, ret) == 0; /* curl's default port */
}

static bool is_loopback(const struct authority *a)
{
    return strncmp(a->host, "127.", 4) == 0 || strcmp(a->host, "::1") == 0 || strcmp(a->host, "localhost") == 0;
}

static void note(struct run_proxies *p, const char *where, const char *value)
{
    struct authority at;
    char key[AUTHORITY_TEXT_MAX];
    size_t len = strlen(p->list);
    bool ours = strstr(value, "//sidekey:") != NULL; /* of a run around this one */
    if (!*value || ours || !place_of(value, &at))
        return;
    snprintf(key, sizeof key, "%s:%u", at.host, at.port);
    if (!p->parent_known && !p->said)
        fprintf(stderr,
                "sidekey run: %s names the proxy %s: the program uses sidekey instead (set network.parent_proxy to "
                "send sidekey's connections through it)\n",
                where, key);
    p->said = true;
    if (is_loopback(&at) || strstr(p->list, key) || len + strlen(key) + 2 > sizeof p->list)
        return;
    snprintf(p->list + len, sizeof p->list - len, "%s%s", len ? "," : "", key);
}

/* --- variables --- */

/* npm reads its variables in any case, with '-' or '_'. */
static bool is_npm_spelling(const char *entry)
{
    static const char *const names[] = { "proxy=", "https_proxy=", "http_proxy=", "noproxy=", "no_proxy=" };
    static const char *const kept[] = { "npm_config_proxy=", "npm_config_https_proxy=", "npm_config_noproxy=" };
    char name[32];
    size_t n = strcspn(entry, "=") + 1;
    if (n >= sizeof name || strncasecmp(entry, "npm_config_", 11) != 0)
        return false;
    memcpy(name, entry, n);
    name[n] = '\0';
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        if (strcmp(name, kept[i]) == 0)
            return false;
    for (char *c = name; *c; c++)
        if (*c == '-')
            *c = '_';
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcasecmp(name + 11, names[i]) == 0)
            return true;
    return false;
}

static void take_npm_spellings(struct run_proxies *p)
{
    char name[32];
    for (char **e = environ; *e;) {
        size_t n = strcspn(*e, "=");
        if (!is_npm_spelling(*e)) {
            e++;
            continue;
        }
        note(p, "npm's variable", *e + n + 1);
        snprintf(name, sizeof name, "%.*s", (int)n, *e);
        unsetenv(name);
        e = environ;
    }
}

static void take_variables(struct run_proxies *p)
{
    static const struct {
        const char *name;
        bool out; /* none of ours replaces it */
    } names[] = {
        { "https_proxy", false },      { "HTTPS_PROXY", false },
        { "http_proxy", false },       { "HTTP_PROXY", false },
        { "grpc_proxy", false },       { "npm_config_https_proxy", false },
        { "npm_config_proxy", false }, { "GLOBAL_AGENT_HTTP_PROXY", false },
        { "YARN_HTTPS_PROXY", false }, { "all_proxy", true },
        { "ALL_PROXY", true },         { "CARGO_HTTP_PROXY", true },
        { "PIP_PROXY", true },         { "GIT_PROXY", true },
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *value = getenv(names[i].name);
        if (value)
            note(p, names[i].name, value);
        if (value && names[i].out)
            unsetenv(names[i].name);
    }
    take_npm_spellings(p);
}

/* --- Java --- */

static bool is_proxy_option(const char *word)
{
    static const char *const options[] = { "-Dhttp.proxy", "-Dhttps.proxy", "-DsocksProxy", "-Dhttp.nonProxyHosts",
                                           "-Djava.net.useSystemProxies" };
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        if (strncmp(word, options[i], strlen(options[i])) == 0)
            return true;
    return false;
}

/* -Dhttps.proxyHost=HOST, and beside it -Dhttps.proxyPort=PORT. */
static void note_java(struct run_proxies *p, const char *variable, const char *all, const char *word)
{
    char name[32], place[512];
    const char *host = strstr(word, "roxyHost="), *port;
    if (!host || (size_t)(host - word) > sizeof name - 16)
        return;
    snprintf(name, sizeof name, "%.*sroxyPort=", (int)(host - word), word);
    port = strstr(all, name);
    const char *number = "80";
    if (port && isdigit((unsigned char)port[strlen(name)]))
        number = port + strlen(name);
    snprintf(place, sizeof place, "%s:%.*s", host + strlen("roxyHost="), (int)strspn(number, "0123456789"), number);
    note(p, variable, place);
}

/* Of two settings the JVM takes the last, and _JAVA_OPTIONS come last of all: ours must be the only ones. */
static int take_java(struct run_proxies *p, size_t i)
{
    char left[JAVA_TEXT_MAX] = "", *words, *rest = NULL;
    const char *old = getenv(java_variables[i]);
    if (!old || !strstr(old, "roxy") || strlen(old) >= sizeof left || strpbrk(old, "\"'"))
        return 0; /* quoted: left as it is; the preload library still sees its CONNECT */
    if (!(words = strdup(old)))
        return -ENOMEM;
    for (char *word = strtok_r(words, " \t\n", &rest); word; word = strtok_r(NULL, " \t\n", &rest)) {
        if (!is_proxy_option(word)) {
            snprintf(left + strlen(left), sizeof left - strlen(left), "%s%s", *left ? " " : "", word);
            continue;
        }
        java_had_proxy[i] = true;
        note_java(p, java_variables[i], old, word);
    }
    free(words);
    if (!java_had_proxy[i])
        return 0;
    int failed = *left ? setenv(java_variables[i], left, 1) : unsetenv(java_variables[i]);
    return failed ? -errno : 0;
}

int run_proxies_override_java(const char *host, const char *port)
{
    char text[JAVA_TEXT_MAX + 512];
    for (size_t i = 0; i < sizeof java_variables / sizeof *java_variables; i++) {
        const char *old = getenv(java_variables[i]);
        if (!java_had_proxy[i])
            continue;
        snprintf(text, sizeof text,
                 "%s%s-Dhttp.proxyHost=%s -Dhttp.proxyPort=%s -Dhttps.proxyHost=%s -Dhttps.proxyPort=%s "
                 "-Dhttp.nonProxyHosts=localhost|127.*|[::1]",
                 old ? old : "", old ? " " : "", host, port, host, port);
        if (setenv(java_variables[i], text, 1) != 0)
            return -errno;
    }
    return 0;
}

/* --- files --- */

/* "key = value", "key=value", "key value": is it key, and what is the value? */
static const char *value_of(const char *line, const char *key)
{
    size_t n = strlen(key);
    if (strncasecmp(line, key, n) != 0 || (line[n] && !strchr(" \t=:", line[n])))
        return NULL;
    return line + n + strspn(line + n, " \t=:\"");
}

static void npmrc_line(void *arg, char *line)
{
    const char *value;
    if ((value = value_of(line, "https-proxy")) || (value = value_of(line, "proxy")))
        note(arg, "~/.npmrc", value);
}

static void curlrc_line(void *arg, char *line)
{
    static const char *const keys[] = { "proxy", "-x", "preproxy", "socks5-hostname", "socks5", "socks4a" };
    struct run_proxies *p = arg;
    line += strspn(line, "-") > 1 ? 2 : 0;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const char *value = value_of(line, keys[i]);
        p->in_curlrc |= value != NULL;
        if (value)
            note(p, "~/.curlrc", value);
    }
    p->in_curlrc |= value_of(line, "noproxy") != NULL;
}

static void wgetrc_line(void *arg, char *line)
{
    struct run_proxies *p = arg;
    const char *value;
    p->in_wgetrc |= value_of(line, "no_proxy") || value_of(line, "use_proxy");
    if ((value = value_of(line, "https_proxy")) || (value = value_of(line, "http_proxy"))) {
        p->in_wgetrc = true;
        note(p, "~/.wgetrc", value);
    }
}

struct gitconfig {
    struct run_proxies *p;
    char section[512]; /* "http.https://x.test/" */
};

/* [http "https://x.test/"]: git-config(1), CONFIGURATION FILE. */
static void gitconfig_line(void *arg, char *line)
{
    struct gitconfig *g = arg;
    size_t count = 0;
    if (*line == '[') {
        char *name = line + 1, *end = strchr(line, ']'), *quote = strchr(line, '"');
        if (quote && end > quote && strrchr(quote + 1, '"')) {
            *strrchr(quote + 1, '"') = '\0';
            name[strcspn(name, " \t")] = '\0';
            snprintf(g->section, sizeof g->section, "%s.%s", name, quote + 1);
        } else if (end) {
            *end = '\0';
            snprintf(g->section, sizeof g->section, "%s", name);
        }
        return;
    }
    const char *value = value_of(line, "proxy");
    if (!value || (strncasecmp(g->section, "http", 4) != 0 && strncasecmp(g->section, "remote.", 7) != 0))
        return;
    note(g->p, "~/.gitconfig", value);
    while (count < GIT_KEYS_MAX && git_keys[count])
        count++;
    if (count < GIT_KEYS_MAX && strcasecmp(g->section, "http") != 0
        && asprintf(&git_keys[count], "%s.proxy", g->section) < 0)
        git_keys[count] = NULL;
}

static int set_numbered(const char *what, size_t number, const char *value)
{
    char name[64];
    snprintf(name, sizeof name, "GIT_CONFIG_%s_%zu", what, number);
    return setenv(name, value, 1) == 0 ? 0 : -errno;
}

int run_proxies_override_git(const char *url)
{
    char text[24];
    const char *old = getenv("GIT_CONFIG_COUNT");
    size_t count = old ? (size_t)strtoul(old, NULL, 10) : 0;
    int failed = set_numbered("KEY", count, "http.proxy");
    if (!failed)
        failed = set_numbered("VALUE", count++, url);
    for (char **key = git_keys; *key && !failed; key++) {
        failed = set_numbered("KEY", count, *key);
        if (!failed)
            failed = set_numbered("VALUE", count++, url);
    }
    snprintf(text, sizeof text, "%zu", count);
    return failed || setenv("GIT_CONFIG_COUNT", text, 1) == 0 ? failed : -errno;
}

int run_proxies_take_out(struct run_proxies *p)
{
    struct gitconfig git = { .p = p };
    int failed = 0;
    take_variables(p);
    for (size_t i = 0; i < sizeof java_variables / sizeof *java_variables && !failed; i++)
        failed = take_java(p, i);
    run_home_each_line("npm_config_userconfig", NULL, ".npmrc", npmrc_line, p);
    run_home_each_line(NULL, "CURL_HOME", ".curlrc", curlrc_line, p);
    run_home_each_line("WGETRC", NULL, ".wgetrc", wgetrc_line, p);
    run_home_each_line("GIT_CONFIG_GLOBAL", NULL, ".gitconfig", gitconfig_line, &git);
    return failed;
}
