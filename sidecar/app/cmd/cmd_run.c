#include "app/cmd/cmd.h"
#include "app/cmd/env_table.h"
#include "app/cmd/run_dir.h"
#include "app/supervisor.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/rand.h"

enum { LAYER_ENV = 1, LAYER_PRELOAD = 2 };
enum { RUN_LAYERS = CMD_OWN, RUN_PLACEHOLDER, RUN_JAVA };

#define PASSWORD_LEN 32
#define PLACEHOLDERS_MAX 32

struct run {
    struct cmd_config config;
    const struct config *loaded;
    unsigned layers;
    bool verbose, java;
    char *placeholders[PLACEHOLDERS_MAX + 1];
    size_t placeholder_count;
    char **argv;
    char dir[PATH_MAX], hints[PATH_MAX], preload[PATH_MAX];
    char publish[PATH_MAX + 16];
    char password[PASSWORD_LEN + 1];
    uint16_t transparent_port;
};

/* Letters and digits alone: some clients do not decode the proxy URL's password. */
static void make_password(char password[PASSWORD_LEN + 1])
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    for (size_t i = 0; i < PASSWORD_LEN; i++)
        password[i] = alphabet[rand_below(sizeof alphabet - 1)];
    password[PASSWORD_LEN] = '\0';
}

static int parse_layers(struct run *r, const char *text)
{
    struct slice left = slice_str(text);
    r->layers = 0;
    while (left.len) {
        struct slice word = slice_cut(left, ',', &left);
        if (slice_eq(word, SLICE("env")))
            r->layers |= LAYER_ENV;
        else if (slice_eq(word, SLICE("preload")))
            r->layers |= LAYER_PRELOAD;
        else
            return cmd_usage("run", "unknown layer '%.*s': env and preload are known", (int)word.len, word.ptr);
    }
    return r->layers ? 0 : cmd_usage("run", "--layers needs env, preload, or both");
}

static int take_flag(struct run *r, int flag)
{
    int status;
    switch (flag) {
    case 'v': r->verbose = true; return 0;
    case RUN_JAVA: r->java = true; return 0;
    case RUN_LAYERS: return parse_layers(r, optarg);
    case RUN_PLACEHOLDER:
        if (!strchr(optarg, '='))
            return cmd_usage("run", "--placeholder needs NAME=VALUE, not '%s'", optarg);
        if (r->placeholder_count == PLACEHOLDERS_MAX)
            return cmd_usage("run", "at most %d placeholders", PLACEHOLDERS_MAX);
        r->placeholders[r->placeholder_count++] = optarg;
        return 0;
    default: status = cmd_config_flag(&r->config, flag, optarg); return status ? EX_USAGE : 0;
    }
}

static int parse(struct run *r, int argc, char **argv)
{
    static const struct option flags[] = { CMD_CONFIG_LONG,
                                           { "layers", required_argument, NULL, RUN_LAYERS },
                                           { "placeholder", required_argument, NULL, RUN_PLACEHOLDER },
                                           { "java", no_argument, NULL, RUN_JAVA },
                                           { "verbose", no_argument, NULL, 'v' },
                                           CMD_LONG_END };
    int flag, status;
    r->layers = LAYER_ENV;
    while ((flag = cmd_flag(argc, argv, "+" CMD_CONFIG_SHORT "v", flags)) != -1) {
        if (flag == '?')
            return EX_USAGE;
        if ((status = take_flag(r, flag)) != 0)
            return status;
    }
    if (optind >= argc)
        return cmd_usage("run", "which program? sidekey run -- PROGRAM [ARGUMENT…]");
    r->argv = argv + optind;
    return 0;
}

/* --- the program's environment --- */

static int set_one(void *arg, const char *name, const char *value)
{
    const struct run *r = arg;
    bool proxy = strcasestr(name, "proxy") && !strstr(name, "ENV_PROXY");
    if (proxy && !(r->layers & LAYER_ENV))
        return unsetenv(name); /* what goes through the preload layer must not come by a proxy as well */
    return setenv(name, value, 1);
}

static int add_java_options(const char *trust)
{
    char text[PATH_MAX + 64];
    snprintf(text, sizeof text, "-Djavax.net.ssl.trustStore=%s", trust);
    return setenv("JDK_JAVA_OPTIONS", text, 1);
}

static int set_proxy_env(struct run *r, const struct listeners *listeners)
{
    char port[8], bundle[PATH_MAX], ca[PATH_MAX], jks[PATH_MAX];
    snprintf(port, sizeof port, "%u", listeners->proxy_port);
    run_dir_file(r->dir, "bundle.pem", bundle);
    run_dir_file(r->dir, "ca.pem", ca);
    run_dir_file(r->dir, "bundle.jks", jks);
    struct env_inputs in = { .host = "127.0.0.1",
                             .port = port,
                             .password = r->password,
                             .bundle = bundle,
                             .ca = ca,
                             .java_trust = jks,
                             .java = r->java && (r->layers & LAYER_ENV),
                             .old = (const char *(*)(const char *))getenv };
    int failed = env_table_each(&in, set_one, r);
    if (failed == 0 && r->java && !(r->layers & LAYER_ENV))
        failed = add_java_options(jks);
    return failed;
}

static int set_preload_env(struct run *r)
{
    char text[PATH_MAX * 2], bundle[PATH_MAX], jks[PATH_MAX];
    const char *old = getenv("LD_PRELOAD");
    snprintf(text, sizeof text, "%s%s%s", r->preload, old && *old ? ":" : "", old ? old : "");
    if (setenv("LD_PRELOAD", text, 1) != 0)
        return -errno;
    snprintf(text, sizeof text, "%u", r->transparent_port);
    if (setenv("SIDEKEY_PRELOAD_PORT", text, 1) != 0 || setenv("SIDEKEY_PRELOAD_TABLE", r->hints, 1) != 0
        || setenv("SIDEKEY_PRELOAD_CA", run_dir_file(r->dir, "bundle.pem", bundle), 1) != 0
        || setenv("SIDEKEY_PRELOAD_JKS", run_dir_file(r->dir, "bundle.jks", jks), 1) != 0)
        return -errno;
    return 0;
}

static void forget(const struct secret_ref *ref)
{
    if (ref->kind == SECRET_REF_ENV)
        unsetenv(ref->name);
}

/* The program holds a placeholder, never a secret: what the config reads from the environment is taken out of it. */
static void drop_secrets(const struct config *c)
{
    for (size_t i = 0; i < c->credential_count; i++) {
        const struct credential_spec *s = &c->credentials[i];
        const struct secret_ref *const refs[] = { &s->client_secret, &s->refresh_token, &s->token,
                                                  &s->subject_token, &s->actor_token,   &s->assertion.token,
                                                  &s->assertion.key };
        for (size_t j = 0; j < sizeof refs / sizeof *refs; j++)
            forget(refs[j]);
    }
    for (size_t i = 0; i < c->client_count; i++)
        forget(&c->clients[i].password);
    forget(&c->parent.password);
    forget(&c->redis.password);
    forget(&c->redis.sentinel_password);
    forget(&c->seal_key);
    forget(&c->seal_key_previous);
}

static void become_program(struct run *r, const struct listeners *listeners)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    drop_secrets(r->loaded);
    if (set_proxy_env(r, listeners) != 0 || ((r->layers & LAYER_PRELOAD) && set_preload_env(r) != 0))
        _exit(EX_OSERR);
    for (size_t i = 0; i < r->placeholder_count; i++)
        putenv(r->placeholders[i]);
    execvp(r->argv[0], r->argv);
    fprintf(stderr, "sidekey run: %s: %s\n", r->argv[0], strerror(errno));
    _exit(errno == ENOENT ? 127 : 126);
}

static pid_t on_ready(void *arg, const struct listeners *listeners)
{
    struct run *r = arg;
    r->transparent_port = listeners->transparent_port;
    if (r->verbose)
        fprintf(stderr, "sidekey run: proxy=%s admin=%s layers=%s%s%s\n", listeners->proxy_text, listeners->admin_text,
                r->layers & LAYER_ENV ? "env" : "", r->layers == (LAYER_ENV | LAYER_PRELOAD) ? "," : "",
                r->layers & LAYER_PRELOAD ? "preload" : "");
    pid_t pid = fork();
    if (pid == 0)
        become_program(r, listeners);
    return pid;
}

static int prepare(struct run *r, struct err *e)
{
    if (run_dir_make(r->dir, e) != 0)
        return -1;
    snprintf(r->publish, sizeof r->publish, "ca.publish=%s", r->dir);
    make_password(r->password);
    run_dir_file(r->dir, "preload.table", r->hints);
    return r->layers & LAYER_PRELOAD ? run_dir_find_preload(r->preload, e) : 0;
}

static struct config *load(struct run *r, int *ret_status)
{
    const char *const own[] = { "listen.proxy=127.0.0.1:0", "listen.admin=127.0.0.1:0", r->publish, "workers=1" };
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (cmd_config_flag(&r->config, CMD_SET, own[i]) != 0) {
            *ret_status = EX_USAGE;
            return NULL;
        }
    struct config *c = cmd_config_load(&r->config, ret_status);
    if (c) { /* the socket is for "serve", which may be running beside us */
        free(c->listen_socket);
        c->listen_socket = NULL;
    }
    return c;
}

int cmd_run(int argc, char **argv)
{
    static struct run r;
    struct err e;
    int status = parse(&r, argc, argv);
    if (status)
        return status;
    r.config.quiet = !r.verbose;
    if (prepare(&r, &e) != 0) {
        run_dir_remove(r.dir);
        return cmd_fail(EX_CANTCREAT, "run", "%s", e.text);
    }
    struct config *config = load(&r, &status);
    if (config) {
        r.loaded = config;
        log_setup("run", r.verbose ? config->log_level : LOG_WARN, LOG_LOGFMT, STDERR_FILENO);
        status = supervisor_run(&(struct supervisor_options){ .config = config,
                                                              .proxy_password = r.password,
                                                              .on_ready = on_ready,
                                                              .arg = &r,
                                                              .hints_path = r.layers & LAYER_PRELOAD ? r.hints : NULL,
                                                              .foreground_child = true });
    }
    run_dir_remove(r.dir);
    return status;
}
