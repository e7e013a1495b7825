/* sidekey k8s: Kubernetes manifests for the given configuration.  The templates are the files of k8s/; a line that
 * holds nothing but "@block@" is replaced by that block at the same indentation, "@word@" elsewhere by a word. */
#include "app/cmd/cmd.h"
#include "base/embedded.h"
#include "app/cmd/env_table.h"
#include "app/config/url.h"
#include "base/str.h"

#include <limits.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

#define TEXT_MAX (512 * 1024)
#define PORTS_MAX 32
#define DEPTH_MAX 4 /* blocks inside blocks */

enum { K8S_NAME = CMD_OWN, K8S_IMAGE, K8S_SIDEKEY_IMAGE, K8S_REPLICAS, K8S_CONTAINER };

struct k8s {
    struct cmd_config load;
    const struct config *config;
    const char *app, *container, *image, *sidekey_image, *replicas;
    char admin_port[8], proxy_port[8];
    const char *ca_dir, *state_dir;
    struct buf env, env_cel, ports, port_numbers; /* blocks that are made here */
};

static const struct kind {
    const char *name, *file, *about;
    bool all; /* part of "sidekey k8s" without a kind */
} kinds[] = {
    { "deployment", "deployment.yaml", "a Deployment with sidekey as a native sidecar", true },
    { "networkpolicy", "networkpolicy.yaml", "a NetworkPolicy: what the pod may connect to", true },
    { "pdb", "pdb.yaml", "a PodDisruptionBudget", true },
    { "job", "job.yaml", "a Job with sidekey as a native sidecar", false },
    { "sidecar", "sidecar.yaml", "only the sidecar container", false },
    { "volumes", "volumes.yaml", "only the volumes of the sidecar", false },
    { "redis", "redis.yaml", "a Redis for the state of all replicas", false },
    { "podmonitor", "podmonitor.yaml", "a PodMonitor for the Prometheus operator", false },
    { "rules", "rules.yaml", "alert rules for Prometheus", false },
    { "prometheusrule", "prometheusrule.yaml", "the same for the Prometheus operator", false },
    { "dashboard", "dashboard.json", "a Grafana dashboard", false },
    { "component", "component.yaml", "a Kustomize component that adds the sidecar to your Deployments", false },
    { "policy", "policy.yaml", "a MutatingAdmissionPolicy that adds it to labelled pods", false },
    { "helm", "helm.yaml", "values for the Helm chart", false },
};
#define KINDS (sizeof kinds / sizeof *kinds)

static const char *template_of(const char *file)
{
    for (const struct embedded_file *f = k8s_templates; f->name; f++)
        if (strcmp(f->name, file) == 0)
            return f->text;
    return NULL;
}

/* --- blocks and words --- */

static int add_variable(void *arg, const char *name, const char *value)
{
    struct k8s *k = arg;
    int failed = buf_printf(&k->env, "- {name: %s, value: ", name);
    if (!failed)
        failed = str_add_json(&k->env, slice_str(value));
    if (!failed)
        failed = buf_printf(&k->env_cel, "%s[\"%s\", ", k->env_cel.len ? ",\n" : "", name);
    if (!failed)
        failed = str_add_json(&k->env_cel, slice_str(value)); /* CEL knows the escapes of JSON */
    if (!failed)
        failed = buf_add_str(&k->env_cel, "]");
    return failed ? failed : buf_add_str(&k->env, "}\n");
}

static int make_env(struct k8s *k)
{
    char bundle[PATH_MAX], ca[PATH_MAX];
    snprintf(bundle, sizeof bundle, "%s/bundle.pem", k->ca_dir);
    snprintf(ca, sizeof ca, "%s/ca.pem", k->ca_dir);
    struct env_inputs in = { .host = "127.0.0.1",
                             .port = k->proxy_port,
                             .bundle = bundle,
                             .ca = ca,
                             .more_bypass = ENV_BYPASS_CLUSTER,
                             .rule_hosts = (const char *const *)k->config->permit_hosts };
    return env_table_each(&in, add_variable, k);
}

static void add_port(uint16_t *ports, size_t *count, uint16_t port)
{
    for (size_t i = 0; i < *count; i++)
        if (ports[i] == port)
            return;
    if (port && *count < PORTS_MAX)
        ports[(*count)++] = port;
}

static uint16_t url_port(const char *url)
{
    struct slice path;
    struct authority at;
    return url && url_parse(slice_str(url), &at, &path) == 0 ? at.port : 0;
}

/* The ports of rules, token endpoints and Redis. */
static int make_ports(struct k8s *k)
{
    uint16_t ports[PORTS_MAX] = { 443 };
    size_t count = 1;
    int failed = 0;
    for (size_t i = 0; i < k->config->rule_count; i++)
        add_port(ports, &count, k->config->rules[i].port);
    for (size_t i = 0; i < k->config->credential_count; i++)
        add_port(ports, &count, url_port(k->config->credentials[i].token_url));
    if (k->config->redis.url) {
        const char *colon = strrchr(k->config->redis.url, ':');
        long port = colon ? strtol(colon + 1, NULL, 10) : 0;
        add_port(ports, &count, port > 0 && port < 65536 ? (uint16_t)port : 6379);
    }
    for (size_t i = 0; i < count && !failed; i++)
        failed = buf_printf(&k->ports, "- {protocol: TCP, port: %u}\n", ports[i])
                 || buf_printf(&k->port_numbers, "- %u\n", ports[i]);
    return failed;
}

/* False: there is no such block. */
static bool block(const struct k8s *k, struct slice name, struct slice *ret)
{
    const struct {
        const char *name;
        struct slice text;
    } blocks[] = {
        { "env", buf_slice(&k->env) },
        { "env_cel", buf_slice(&k->env_cel) },
        { "egress_ports", buf_slice(&k->ports) },
        { "egress_numbers", buf_slice(&k->port_numbers) },
        { "sidecar", slice_str(template_of("sidecar.yaml")) },
        { "volumes", slice_str(template_of("volumes.yaml")) },
        { "rules", slice_str(template_of("rules.yaml")) },
    };
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        if (slice_eq(name, slice_str(blocks[i].name))) {
            *ret = blocks[i].text;
            return true;
        }
    return false;
}

static const char *word(const struct k8s *k, struct slice name)
{
    const struct {
        const char *name, *value;
    } words[] = {
        { "app", k->app },
        { "container", k->container },
        { "image", k->image },
        { "sidekey_image", k->sidekey_image },
        { "replicas", k->replicas },
        { "admin_port", k->admin_port },
        { "ca_dir", k->ca_dir },
        { "state_dir", k->state_dir },
        { "state_why", k->config->redis.url ? "the tokens of all replicas are in Redis"
                                            : "for a rotating refresh token this must be a PersistentVolumeClaim" },
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (slice_eq(name, slice_str(words[i].name)))
            return words[i].value;
    return NULL;
}

/* --- filling in --- */

/* "@name@" at the start of text; its name, or an empty slice. */
static struct slice placeholder(struct slice text)
{
    struct slice rest = text.len && text.ptr[0] == '@' ? slice_skip(text, 1) : (struct slice){ NULL, 0 };
    size_t end = slice_find(rest, '@');
    for (size_t i = 0; i < end && i < rest.len; i++)
        if (rest.ptr[i] != '_' && (rest.ptr[i] < 'a' || rest.ptr[i] > 'z'))
            return (struct slice){ NULL, 0 };
    return end < rest.len ? slice_of(rest.ptr, end) : (struct slice){ NULL, 0 };
}

static int fill_words(const struct k8s *k, struct slice line, struct buf *out)
{
    int failed = 0;
    while (line.len && !failed) {
        size_t at = slice_find(line, '@');
        failed = buf_add(out, slice_of(line.ptr, at));
        line = slice_skip(line, at);
        struct slice name = placeholder(line);
        const char *value = name.len ? word(k, name) : NULL;
        if (failed || !line.len)
            break;
        failed = value ? buf_add_str(out, value) : buf_add(out, slice_of(line.ptr, 1));
        line = slice_skip(line, value ? name.len + 2 : 1);
    }
    return failed;
}

static int fill(const struct k8s *k, struct slice rest, unsigned indent, int depth, struct buf *out)
{
    int failed = 0;
    while (rest.len && !failed) {
        struct slice line = slice_cut(rest, '\n', &rest), inner = slice_trim(line), name = placeholder(inner);
        unsigned own = (unsigned)(inner.ptr - line.ptr);
        struct slice more;
        if (name.len && name.len + 2 == inner.len && depth < DEPTH_MAX && block(k, name, &more)) {
            failed = fill(k, more, indent + own, depth + 1, out);
            continue;
        }
        if (line.len)
            failed = buf_printf(out, "%*s", (int)indent, "");
        if (!failed)
            failed = fill_words(k, line, out);
        if (!failed)
            failed = buf_add_str(out, "\n");
    }
    return failed;
}

static int print_kind(const struct k8s *k, const struct kind *kind)
{
    struct buf out;
    buf_init(&out, TEXT_MAX);
    int failed = fill(k, slice_str(template_of(kind->file)), 0, 0, &out);
    if (!failed)
        fwrite(buf_slice(&out).ptr, 1, out.len, stdout);
    buf_done(&out);
    return failed;
}

/* --- the command --- */

static const struct kind *kind_of(const char *name)
{
    for (size_t i = 0; i < KINDS; i++)
        if (strcmp(kinds[i].name, name) == 0)
            return &kinds[i];
    return NULL;
}

static int unknown_kind(const char *name)
{
    fprintf(stderr, "sidekey k8s: \"%.40s\" is unknown; the kinds are:\n", name);
    for (size_t i = 0; i < KINDS; i++)
        fprintf(stderr, "  %-14s %s\n", kinds[i].name, kinds[i].about);
    return EX_USAGE;
}

static int prepare(struct k8s *k, const struct config *c)
{
    const struct sockaddr_in *admin = (const void *)&c->listen_admin.sa, *proxy = (const void *)&c->listen_proxy.sa;
    k->config = c;
    k->ca_dir = c->ca_publish;
    k->state_dir = c->store_file;
    /* the port is at the same place in sockaddr_in6 */
    snprintf(k->admin_port, sizeof k->admin_port, "%u", ntohs(admin->sin_port));
    snprintf(k->proxy_port, sizeof k->proxy_port, "%u", ntohs(proxy->sin_port));
    if (!c->listen_admin.len || !c->listen_proxy.len || !admin->sin_port || !proxy->sin_port)
        return cmd_fail(EX_CONFIG, "k8s", "listen.proxy and listen.admin must have fixed ports in a pod");
    if (address_class_of((const struct sockaddr *)&c->listen_admin.sa) == ADDRESS_LOOPBACK)
        fprintf(stderr,
                "sidekey k8s: listen.admin is a loopback address: the kubelet's probes cannot reach it; use [::]:%s\n",
                k->admin_port);
    return make_env(k) || make_ports(k) ? cmd_fail(EX_SOFTWARE, "k8s", "out of memory") : 0;
}

static int print_all(const struct k8s *k)
{
    int failed = 0;
    bool first = true;
    for (size_t i = 0; i < KINDS && !failed; i++)
        if (kinds[i].all) {
            if (!first)
                puts("---");
            first = false;
            failed = print_kind(k, &kinds[i]);
        }
    return failed;
}

static int take_flag(struct k8s *k, int flag)
{
    switch (flag) {
    case K8S_NAME: k->app = optarg; return 0;
    case K8S_CONTAINER: k->container = optarg; return 0;
    case K8S_IMAGE: k->image = optarg; return 0;
    case K8S_SIDEKEY_IMAGE: k->sidekey_image = optarg; return 0;
    case K8S_REPLICAS: k->replicas = optarg; return 0;
    default: return cmd_config_flag(&k->load, flag, optarg) ? EX_USAGE : 0;
    }
}

/* A name of Kubernetes (RFC 1123 label); what is printed must stay one word of YAML. */
static bool is_label(const char *text)
{
    size_t n = strlen(text);
    return n && n <= 50 && strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-") == n && text[0] != '-'
           && text[n - 1] != '-';
}

static bool is_image(const char *text)
{
    return *text && text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/:@")] == '\0';
}

static int read_flags(int argc, char **argv, struct k8s *k)
{
    static const struct option flags[] = { CMD_CONFIG_LONG,
                                           { "name", required_argument, NULL, K8S_NAME },
                                           { "container", required_argument, NULL, K8S_CONTAINER },
                                           { "image", required_argument, NULL, K8S_IMAGE },
                                           { "sidekey-image", required_argument, NULL, K8S_SIDEKEY_IMAGE },
                                           { "replicas", required_argument, NULL, K8S_REPLICAS },
                                           CMD_LONG_END };
    int flag, failed = 0;
    while (!failed && (flag = cmd_flag(argc, argv, CMD_CONFIG_SHORT, flags)) != -1)
        failed = flag == '?' ? EX_USAGE : take_flag(k, flag);
    if (failed)
        return failed;
    if (!is_label(k->app) || !is_label(k->container))
        return cmd_usage("k8s", "--name and --container need lower-case letters, digits and '-', at most 50");
    if (!is_image(k->image) || !is_image(k->sidekey_image))
        return cmd_usage("k8s", "--image and --sidekey-image need an image name, like registry.example/app:1.0");
    if (k->replicas[strspn(k->replicas, "0123456789")] || strlen(k->replicas) > 4 || !*k->replicas)
        return cmd_usage("k8s", "--replicas needs a number");
    return argc - optind > 1 ? cmd_usage("k8s", "prints one kind at a time: remove \"%.40s\"", argv[optind + 1]) : 0;
}

int cmd_k8s(int argc, char **argv)
{
    struct k8s k = { .load.quiet = true,
                     .load.options.files = SCHEMA_FILES_NONE,
                     .app = "my-app",
                     .container = "app",
                     .image = "my-app:1.0.0",
                     .sidekey_image = "sidekey:" SIDEKEY_VERSION,
                     .replicas = "2" };
    const char *name = argc > 1 && argv[1][0] != '-' ? argv[1] : NULL; /* before the flags, or after them */
    int status = name ? read_flags(argc - 1, argv + 1, &k) : read_flags(argc, argv, &k);
    if (status)
        return status;
    if (!name && optind < argc)
        name = argv[optind];
    const struct kind *kind = name ? kind_of(name) : NULL;
    if (name && !kind)
        return unknown_kind(name);
    struct config *c = cmd_config_load(&k.load, &status);
    if (!c)
        return status;
    struct buf *made[] = { &k.env, &k.env_cel, &k.ports, &k.port_numbers };
    for (size_t i = 0; i < sizeof made / sizeof *made; i++)
        buf_init(made[i], TEXT_MAX);
    status = prepare(&k, c);
    if (!status && (kind ? print_kind(&k, kind) : print_all(&k)))
        status = cmd_fail(EX_SOFTWARE, "k8s", "out of memory");
    for (size_t i = 0; i < sizeof made / sizeof *made; i++)
        buf_done(made[i]);
    config_free(c);
    return status || fflush(stdout) == 0 ? status : cmd_fail(EX_IOERR, "k8s", "cannot write");
}
