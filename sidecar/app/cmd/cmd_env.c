/* sidekey env: the variables that bring programs through the proxy, for a shell, Docker, Kubernetes or a program. */
#include "app/cmd/cmd.h"
#include "app/cmd/env_table.h"
#include "app/cmd/key_files.h"
#include "app/config/placeholders.h"
#include "base/str.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

static int print_sh(void *arg, const char *name, const char *value)
{
    (void)arg;
    printf("export %s='", name);
    for (const char *c = value; *c; c++)
        if (*c == '\'')
            fputs("'\\''", stdout);
        else
            putchar(*c);
    puts("'");
    return 0;
}

static int print_docker(void *arg, const char *name, const char *value)
{
    (void)arg;
    printf("%s=%s\n", name, value);
    return 0;
}

/* A JSON string is a YAML string. */
static int print_k8s(void *arg, const char *name, const char *value)
{
    struct buf quoted;
    (void)arg;
    buf_init(&quoted, 128 * 1024);
    int failed = str_add_json(&quoted, slice_str(value));
    if (!failed)
        printf("- {name: %s, value: %.*s}\n", name, (int)quoted.len, buf_slice(&quoted).ptr);
    buf_done(&quoted);
    return failed;
}

static int add_json(void *arg, const char *name, const char *value)
{
    return json_object_set_new(arg, name, json_string(value)) == 0 ? 0 : -ENOMEM;
}

static void say_clash(const char *variable, const char *one, const char *other)
{
    fprintf(stderr, "sidekey env: %s is left out: both %s and %s want it; choose with --placeholder %s=@%s\n", variable,
            one, other, variable, one);
}

struct env_placeholders {
    const struct config *config;
    const char *key_files; /* the directory for them; NULL: none are written */
    struct cmd_placeholders given;
};

static int print_variables(const struct env_inputs *in, const struct env_placeholders *p, env_fn *print, void *arg)
{
    struct err e = { "cannot write" };
    int failed = env_table_each(in, print, arg);
    if (!failed && p->key_files && (failed = key_files_write(p->config, p->key_files, print, arg, &e)) != 0)
        return cmd_fail(-EINVAL, "env", "%s", e.text);
    if (!failed)
        failed = placeholders_each(p->config, print, p->given.count ? NULL : say_clash, arg);
    for (size_t i = 0; i < p->given.count && !failed; i++) {
        char name[128];
        const char *value = cmd_placeholder("env", p->config, p->given.texts[i], name, sizeof name);
        failed = value ? print(arg, name, value) : -EINVAL;
    }
    return failed;
}

static int print_json(const struct env_inputs *in, const struct env_placeholders *p)
{
    json_t *object = json_object();
    int failed = object ? print_variables(in, p, add_json, object) : -ENOMEM;
    if (!failed && json_dumpf(object, stdout, JSON_INDENT(2)) == 0)
        putchar('\n');
    json_decref(object);
    return failed;
}

struct env_flags {
    struct cmd_config load;
    const char *format, *proxy, *ca_dir;
    bool java;
    struct env_placeholders placeholders;
};

enum { FLAG_PROXY = CMD_OWN, FLAG_CA_DIR, FLAG_JAVA, FLAG_PLACEHOLDER, FLAG_KEY_FILES };

static int read_flags(int argc, char **argv, struct env_flags *f)
{
    static const struct option flags[] = {
        CMD_CONFIG_LONG,
        { "format", required_argument, NULL, 'f' },
        { "proxy", required_argument, NULL, FLAG_PROXY },
        { "ca-dir", required_argument, NULL, FLAG_CA_DIR },
        { "java", no_argument, NULL, FLAG_JAVA },
        { "placeholder", required_argument, NULL, FLAG_PLACEHOLDER },
        { "key-files", required_argument, NULL, FLAG_KEY_FILES },
        CMD_LONG_END,
    };
    int flag, failed = 0;
    while (!failed && (flag = cmd_flag(argc, argv, CMD_CONFIG_SHORT "f:", flags)) != -1)
        switch (flag) {
        case '?': return EX_USAGE;
        case 'f': f->format = optarg; break;
        case FLAG_PROXY: f->proxy = optarg; break;
        case FLAG_CA_DIR: f->ca_dir = optarg; break;
        case FLAG_JAVA: f->java = true; break;
        case FLAG_KEY_FILES: f->placeholders.key_files = optarg; break;
        case FLAG_PLACEHOLDER: failed = cmd_placeholder_flag("env", &f->placeholders.given, optarg); break;
        default: failed = cmd_config_flag(&f->load, flag, optarg);
        }
    if (failed)
        return failed;
    return optind < argc ? cmd_usage("env", "takes no arguments: remove \"%.60s\"", argv[optind]) : 0;
}

/* Splits the listener's address into the host and port for clients: the any-address becomes loopback. */
static int split_proxy(const struct config *c, const char *given, char *host, size_t size, char *port)
{
    struct authority at;
    char text[64];
    const char *from = given ? given : address_text((const struct sockaddr *)&c->listen_proxy.sa, text, sizeof text);
    if (given && strncmp(given, "http://", 7) == 0)
        from += 7;
    if (!given && c->listen_proxy.len == 0)
        return cmd_fail(EX_CONFIG, "env",
                        "listen.proxy is off, and these variables cannot name a unix socket: name a TCP address that "
                        "forwards to it with --proxy HOST:PORT");
    if (authority_parse(slice_str(from), SCHEME_HTTP, 0, &at) != 0)
        return given ? cmd_usage("env", "--proxy needs HOST:PORT, like 127.0.0.1:8118")
                     : cmd_fail(EX_CONFIG, "env",
                                "listen.proxy uses any free port: name the real one with --proxy HOST:PORT");
    bool any = strcmp(at.host, "0.0.0.0") == 0, any6 = strcmp(at.host, "::") == 0;
    snprintf(host, size, "%s", any || any6 ? "127.0.0.1" : at.host);
    snprintf(port, 8, "%u", at.port);
    return 0;
}

static const char *old_variable(const char *name)
{
    return getenv(name);
}

static void report_bypass(void *arg, const char *name, const char *entry, const char *host)
{
    (void)arg;
    fprintf(stderr, "sidekey env: %s has \"%s\", which covers %s; a rule names that host, so the entry is left out\n",
            name, entry, host);
}

static int print_env(const struct config *c, struct env_flags *f)
{
    static const struct {
        const char *name;
        env_fn *print;
        bool here; /* for this machine: what is set here now is merged */
    } formats[] = {
        { "sh", print_sh, true }, { "docker", print_docker, false }, { "k8s", print_k8s, false }, { "json", NULL, true }
    };
    char host[AUTHORITY_HOST_MAX + 1], port[8], own_host[ENV_HOST_MAX], *bundle = NULL, *ca = NULL, *jks = NULL;
    size_t i = 0, count = sizeof formats / sizeof *formats;
    while (i < count && strcmp(formats[i].name, f->format) != 0)
        i++;
    if (i == count)
        return cmd_usage("env", "--format must be sh, docker, k8s or json, not \"%.20s\"", f->format);
    int failed = split_proxy(c, f->proxy, host, sizeof host, port);
    if (failed)
        return failed;
    const char *dir = f->ca_dir ? f->ca_dir : c->ca_publish;
    if (asprintf(&bundle, "%s/bundle.pem", dir) < 0 || asprintf(&ca, "%s/ca.pem", dir) < 0
        || asprintf(&jks, "%s/bundle.jks", dir) < 0)
        return EX_SOFTWARE;
    struct env_inputs in = { .host = host,
                             .port = port,
                             .bundle = bundle,
                             .ca = ca,
                             .java = f->java,
                             .rule_hosts = (const char *const *)c->permit_hosts,
                             .on_removed = report_bypass,
                             .java_trust = access(jks, R_OK) == 0 ? jks : NULL,
                             .old = formats[i].here ? old_variable : NULL };
    if (strcmp(f->format, "k8s") == 0)
        in.more_bypass = ENV_BYPASS_CLUSTER;
    else if (formats[i].here)
        in.more_bypass = env_table_own_host(own_host);
    if (f->java && !in.java_trust)
        fprintf(stderr,
                "sidekey env: Java: %s does not exist; import the CA instead: keytool -importcert -cacerts -file %s\n",
                jks, ca);
    f->placeholders.config = c;
    failed = formats[i].print ? print_variables(&in, &f->placeholders, formats[i].print, NULL)
                              : print_json(&in, &f->placeholders);
    free(bundle);
    free(ca);
    free(jks);
    if (failed == -EINVAL)
        return EX_USAGE;
    return failed || fflush(stdout) != 0 ? cmd_fail(EX_IOERR, "env", "cannot write") : EX_OK;
}

int cmd_env(int argc, char **argv)
{
    struct env_flags f = { .load.quiet = true,
                           .load.options.files = SCHEMA_FILES_NONE,
                           .load.placeholders = CMD_PLACEHOLDERS_LOOKED_UP,
                           .load.key_files = true,
                           .format = "sh" };
    int status = read_flags(argc, argv, &f);
    if (status)
        return status;
    struct config *c = cmd_config_load_or_default(&f.load, &status);
    if (!c)
        return status;
    status = print_env(c, &f);
    config_free(c);
    return status;
}
