#include "app/cmd/env_table.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define USER "sidekey"

static const struct env_row rows[] = {
    /* Lower case first: curl and wget read http_proxy and never HTTP_PROXY. */
    { "http_proxy", ENV_PROXY, NULL },
    { "HTTP_PROXY", ENV_PROXY, NULL },
    { "https_proxy", ENV_PROXY, NULL },
    { "HTTPS_PROXY", ENV_PROXY, NULL },
    { "grpc_proxy", ENV_PROXY, NULL },
    { "npm_config_proxy", ENV_PROXY, NULL },
    { "npm_config_https_proxy", ENV_PROXY, NULL },
    { "YARN_HTTP_PROXY", ENV_PROXY, NULL },
    { "YARN_HTTPS_PROXY", ENV_PROXY, NULL },
    { "GLOBAL_AGENT_HTTP_PROXY", ENV_PROXY, NULL },
    { "GLOBAL_AGENT_HTTPS_PROXY", ENV_PROXY, NULL },
    { "CLOUDSDK_PROXY_TYPE", ENV_CONSTANT, "http" },
    { "CLOUDSDK_PROXY_ADDRESS", ENV_HOST, NULL },
    { "CLOUDSDK_PROXY_PORT", ENV_PORT, NULL },
    { "CLOUDSDK_PROXY_USERNAME", ENV_USER, NULL },
    { "CLOUDSDK_PROXY_PASSWORD", ENV_PASSWORD, NULL },
    { "NODE_USE_ENV_PROXY", ENV_CONSTANT, "1" },
    { "PERL_LWP_ENV_PROXY", ENV_CONSTANT, "1" },
    { "GIT_HTTP_PROXY_AUTHMETHOD", ENV_CONSTANT, "basic" }, /* else git waits for a 407 */
    { "no_proxy", ENV_BYPASS, NULL },
    { "NO_PROXY", ENV_BYPASS, NULL },
    { "no_grpc_proxy", ENV_BYPASS, NULL },
    { "npm_config_noproxy", ENV_BYPASS, NULL },
    { "GLOBAL_AGENT_NO_PROXY", ENV_BYPASS, NULL },
    /* OpenSSL's default paths, httpx, uv, Go, Ruby, .NET, rustls-native-certs, Bun */
    { "SSL_CERT_FILE", ENV_BUNDLE, NULL },
    { "CURL_CA_BUNDLE", ENV_BUNDLE, NULL }, /* the curl tool prefers it to SSL_CERT_FILE */
    { "GIT_SSL_CAINFO", ENV_BUNDLE, NULL }, /* the only one that git reads */
    { "REQUESTS_CA_BUNDLE", ENV_BUNDLE, NULL },
    { "PIP_CERT", ENV_BUNDLE, NULL },
    { "AWS_CA_BUNDLE", ENV_BUNDLE, NULL },
    { "HTTPLIB2_CA_CERTS", ENV_BUNDLE, NULL },
    { "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE", ENV_BUNDLE, NULL },
    { "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", ENV_BUNDLE, NULL },
    { "npm_config_cafile", ENV_BUNDLE, NULL }, /* a cafile in some npmrc would switch NODE_EXTRA_CA_CERTS off */
    { "YARN_HTTPS_CA_FILE_PATH", ENV_BUNDLE, NULL },
    { "CARGO_HTTP_CAINFO", ENV_BUNDLE, NULL },
    { "PERL_LWP_SSL_CA_FILE", ENV_BUNDLE, NULL },
    { "HTTPS_CA_FILE", ENV_BUNDLE, NULL },
    { "NIX_SSL_CERT_FILE", ENV_BUNDLE, NULL },
    { "HEX_CACERTS_PATH", ENV_BUNDLE, NULL },
    { "NODE_EXTRA_CA_CERTS", ENV_CA, NULL },
    { "DENO_CERT", ENV_CA, NULL },
    { "JAVA_TOOL_OPTIONS", ENV_JAVA, NULL },
    { NULL, ENV_CONSTANT, NULL },
};

const struct env_row *env_table_rows(void)
{
    return rows;
}

const char *env_table_own_host(char name[ENV_HOST_MAX])
{
    static const char good[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.";
    if (gethostname(name, ENV_HOST_MAX - 1) != 0)
        return NULL;
    name[ENV_HOST_MAX - 1] = '\0';
    return *name && *name != '.' && strspn(name, good) == strlen(name) ? name : NULL;
}

static const char *old_value(const struct env_inputs *in, const char *name)
{
    const char *value = in->old ? in->old(name) : NULL;
    return value && *value ? value : NULL;
}

static int add_proxy(const struct env_inputs *in, struct buf *out)
{
    bool v6 = strchr(in->host, ':');
    return buf_printf(out, "http://%s%s%s%s%s%s:%s", in->password ? USER ":" : "", in->password ? in->password : "",
                      in->password ? "@" : "", v6 ? "[" : "", in->host, v6 ? "]" : "", in->port);
}

/* name is suffix, or ends in "." and suffix. */
static bool below(struct slice name, struct slice suffix)
{
    size_t before = name.len - suffix.len;
    return name.len >= suffix.len && strncasecmp(name.ptr + before, suffix.ptr, suffix.len) == 0
           && (before == 0 || name.ptr[before - 1] == '.');
}

const char *env_table_covers(struct slice entry, const char *const *hosts)
{
    bool any = slice_eq(entry, SLICE("*")), net = slice_find(entry, '/') < entry.len;
    size_t colon = slice_find(entry, ':');
    if (colon < entry.len && slice_find(slice_skip(entry, colon + 1), ':') == entry.len - colon - 1)
        entry.len = colon; /* "host:port"; an IPv6 address has more colons */
    if (entry.len && entry.ptr[0] == '*')
        entry = slice_skip(entry, 1);
    if (entry.len && entry.ptr[0] == '.')
        entry = slice_skip(entry, 1);
    for (; hosts && *hosts; hosts++) {
        bool wild = (*hosts)[0] == '*';
        struct slice host = slice_str(*hosts + (wild ? 2 : 0));
        bool number =
            host.len && (strchr(*hosts, ':') || (host.ptr[host.len - 1] >= '0' && host.ptr[host.len - 1] <= '9'));
        if (any || (entry.len && (below(host, entry) || (wild && below(entry, host)))) || (net && number))
            return *hosts;
    }
    return NULL;
}

static bool has_entry(const struct buf *list, struct slice entry)
{
    for (struct slice rest = buf_slice(list); rest.len;)
        if (slice_eq(slice_cut(rest, ',', &rest), entry))
            return true;
    return false;
}

/* Appends list without what is there already and what covers the host of a rule.  name: the variable that it comes
 * from; NULL: our own list. */
static int add_entries(const struct env_inputs *in, const char *name, const char *list, struct buf *out)
{
    int failed = 0;
    for (struct slice rest = slice_str(list); rest.len && !failed;) {
        struct slice entry = slice_trim(slice_cut(rest, ',', &rest));
        const char *host = env_table_covers(entry, in->rule_hosts);
        char text[256];
        if (!host) {
            if (entry.len && !has_entry(out, entry))
                failed = buf_printf(out, "%s%.*s", out->len ? "," : "", (int)entry.len, entry.ptr);
            continue;
        }
        snprintf(text, sizeof text, "%.*s", (int)entry.len, entry.ptr);
        if (in->on_removed && name)
            in->on_removed(NULL, name, text, host);
    }
    return failed;
}

/* The user's own exceptions stay; a second walk over our own output adds nothing.  Instance metadata goes past us:
 * cloud SDKs ask it for the machine's own identity, and no proxy can answer for it. */
static int add_bypass(const struct env_inputs *in, const char *name, struct buf *out)
{
    static const char local[] = "localhost,127.0.0.1,::1,169.254.169.254,fd00:ec2::254,metadata.google.internal";
    const char *old = old_value(in, name);
    if (!old && strcmp(name, "no_proxy") != 0)
        old = old_value(in, strcmp(name, "NO_PROXY") == 0 ? "no_proxy" : "NO_PROXY");
    if (!old && strcmp(name, "no_proxy") == 0)
        old = old_value(in, "NO_PROXY");
    int failed = add_entries(in, NULL, local, out);
    if (!failed && in->more_bypass)
        failed = add_entries(in, NULL, in->more_bypass, out);
    return failed || !old ? failed : add_entries(in, name, old, out);
}

/* The old options first: of two the JVM takes the last, and an old proxy or trust store would lead around us. */
static int add_java(const struct env_inputs *in, const char *name, struct buf *out)
{
    const char *old = old_value(in, name);
    int failed = buf_printf(out,
                            "%s%s-Dhttp.proxyHost=%s -Dhttp.proxyPort=%s -Dhttps.proxyHost=%s -Dhttps.proxyPort=%s "
                            "-Dhttp.nonProxyHosts=localhost|127.*|[::1]",
                            old ? old : "", old ? " " : "", in->host, in->port, in->host, in->port);
    if (!failed && in->password) /* read by most HTTP libraries; the JDK's own clients ask an Authenticator */
        failed = buf_printf(out,
                            " -Dhttp.proxyUser=" USER " -Dhttp.proxyPassword=%s -Dhttps.proxyUser=" USER
                            " -Dhttps.proxyPassword=%s"
                            " -Djdk.http.auth.tunneling.disabledSchemes=",
                            in->password, in->password);
    if (!failed && in->java_trust)
        failed = buf_printf(out, " -Djavax.net.ssl.trustStore=%s", in->java_trust);
    return failed;
}

static int add_value(const struct env_inputs *in, const struct env_row *row, struct buf *out)
{
    switch (row->kind) {
    case ENV_PROXY: return add_proxy(in, out);
    case ENV_HOST: return buf_add_str(out, in->host);
    case ENV_PORT: return buf_add_str(out, in->port);
    case ENV_USER: return buf_add_str(out, USER);
    case ENV_PASSWORD: return buf_add_str(out, in->password);
    case ENV_BYPASS: return add_bypass(in, row->name, out);
    case ENV_BUNDLE: return buf_add_str(out, in->bundle);
    case ENV_CA: /* what it added before is in the bundle */
        return buf_add_str(out, in->merged && old_value(in, row->name) ? in->bundle : in->ca);
    case ENV_CONSTANT: return buf_add_str(out, row->value);
    case ENV_JAVA: return add_java(in, row->name, out);
    }
    return 0;
}

int env_table_each(const struct env_inputs *in, env_fn *fn, void *arg)
{
    struct buf value;
    int failed = 0;
    buf_init_secret(&value, 64 * 1024); /* the proxy's password is in there */
    for (const struct env_row *row = rows; row->name && !failed; row++) {
        if ((row->kind == ENV_JAVA && !in->java)
            || ((row->kind == ENV_USER || row->kind == ENV_PASSWORD) && !in->password))
            continue;
        buf_clear(&value);
        failed = add_value(in, row, &value);
        if (!failed)
            failed = buf_add(&value, slice_of("", 1));
        if (!failed)
            failed = fn(arg, row->name, buf_slice(&value).ptr);
    }
    buf_done(&value);
    return failed;
}
