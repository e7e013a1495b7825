/* sidekey run: a private proxy as a daemon, the program in this very process (app/cmd/run_daemon.h). */
#include "app/cmd/cmd.h"
#include "app/cmd/guard.h"
#include "app/cmd/key_files.h"
#include "app/cmd/run_daemon.h"
#include "app/cmd/run_dir.h"
#include "app/cmd/run_env.h"
#include "app/cmd/run_init.h"
#include "app/cmd/run_roots.h"
#include "app/cmd/target.h"
#include "app/config/placeholders.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/rand.h"

enum { LAYER_ENV = 1, LAYER_PRELOAD = 2, LAYER_AUTO = 4 };
enum {
    RUN_LAYERS = CMD_OWN,
    RUN_PLACEHOLDER,
    RUN_JAVA,
    RUN_STRICT,
    RUN_CHECK,
    RUN_LINGER,
    RUN_ISOLATE,
    RUN_ALLOW_LOCAL,
    RUN_GUARD
};

#define PASSWORD_LEN 32
#define DRAIN_MS 500                              /* after the program has ended: what its children still do */
#define LINGER_MS (7 * INT64_C(24) * 3600 * 1000) /* --linger: as long as they hold connections */

struct run {
    struct cmd_config config;
    struct config *loaded;
    unsigned layers;
    bool verbose, java, strict, check, linger, isolated, guard, notify;
    struct isolate isolate;
    struct trap *trap;
    struct cmd_placeholders placeholders;
    char **argv;
    struct target target;
    char dir[PATH_MAX], hints[PATH_MAX], preload[PATH_MAX];
    char publish[PATH_MAX + 16];
    char password[PASSWORD_LEN + 1];
    struct run_ready ready;
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
        else if (slice_eq(word, SLICE("auto")))
            r->layers |= LAYER_AUTO | LAYER_ENV | LAYER_PRELOAD;
        else if (slice_eq(word, SLICE("notify"))) { /* the others make it gentler: names, variables, trust */
            r->layers |= LAYER_AUTO | LAYER_ENV | LAYER_PRELOAD;
            r->notify = true;
        } else
            return cmd_usage("run", "unknown layer '%.*s'; the layers are auto, env, preload and notify", (int)word.len,
                             word.ptr);
    }
    return r->layers ? 0 : cmd_usage("run", "--layers needs auto, env, preload, env,preload, or notify");
}

static int allow_local(struct run *r, const char *port)
{
    int failed = isolate_allow_local(&r->isolate, port);
    if (failed == -ENOSPC)
        return cmd_usage("run", "at most %d times --allow-local", ISOLATED_LOCAL_MAX);
    return failed ? cmd_usage("run", "--allow-local needs a port, not '%s'", port) : 0;
}

static int take_flag(struct run *r, int flag)
{
    switch (flag) {
    case 'v': r->verbose = true; return 0;
    case RUN_JAVA: r->java = true; return 0;
    case RUN_STRICT: r->strict = true; return 0;
    case RUN_CHECK: r->check = true; return 0;
    case RUN_LINGER: r->linger = true; return 0;
    case RUN_ISOLATE: r->isolated = true; return 0;
    case RUN_GUARD: r->guard = true; return 0;
    case RUN_ALLOW_LOCAL: return allow_local(r, optarg);
    case RUN_LAYERS: return parse_layers(r, optarg);
    case RUN_PLACEHOLDER: return cmd_placeholder_flag("run", &r->placeholders, optarg);
    default: return cmd_config_flag(&r->config, flag, optarg) ? EX_USAGE : 0;
    }
}

static int parse(struct run *r, int argc, char **argv)
{
    static const struct option flags[] = { CMD_CONFIG_LONG,
                                           { "layers", required_argument, NULL, RUN_LAYERS },
                                           { "placeholder", required_argument, NULL, RUN_PLACEHOLDER },
                                           { "java", no_argument, NULL, RUN_JAVA },
                                           { "strict", no_argument, NULL, RUN_STRICT },
                                           { "check", no_argument, NULL, RUN_CHECK },
                                           { "linger", no_argument, NULL, RUN_LINGER },
                                           { "isolate", no_argument, NULL, RUN_ISOLATE },
                                           { "guard", no_argument, NULL, RUN_GUARD },
                                           { "allow-local", required_argument, NULL, RUN_ALLOW_LOCAL },
                                           { "verbose", no_argument, NULL, 'v' },
                                           CMD_LONG_END };
    int flag, status;
    r->layers = LAYER_AUTO | LAYER_ENV | LAYER_PRELOAD;
    while ((flag = cmd_flag(argc, argv, "+" CMD_CONFIG_SHORT "v", flags)) != -1) {
        if (flag == '?')
            return EX_USAGE;
        if ((status = take_flag(r, flag)) != 0)
            return status;
    }
    if (r->isolate.local_count && !r->isolated && !r->guard)
        return cmd_usage("run", "--allow-local needs --isolate or --guard: other layers do not close other ports");
    if (r->isolated && r->guard)
        return cmd_usage("run", "--isolate and --guard: choose one; an isolated program needs no guard");
    if (r->notify && (r->isolated || r->guard))
        return cmd_usage("run", "--layers notify, --isolate and --guard: choose one");
    if (optind >= argc)
        return cmd_usage("run", "needs a program: sidekey run -- PROGRAM [ARGUMENT…]");
    r->argv = argv + optind;
    return 0;
}

/* --- what the layers reach --- */

/* NULL: the program is covered whatever it does.  Else what is missing, for people. */
static const char *gap(const struct run *r)
{
    if (r->isolated || r->guard || r->notify)
        return NULL;
    if (!(r->layers & LAYER_PRELOAD))
        return target_proxy(&r->target) == TARGET_PROXY_IGNORES
                   ? "it ignores HTTPS_PROXY by default and then bypasses sidekey; --layers auto covers it"
                   : "it is covered only if it honours HTTPS_PROXY and the CA variables; --layers auto covers more";
    if (target_preloads(r->target.kind))
        return NULL;
    return r->layers & LAYER_ENV
               ? "the preload library does not work in it: it is covered only if it honours HTTPS_PROXY"
               : "the preload library does not work in it: it is not covered";
}

static const char *layers_text(const struct run *r)
{
    if (r->isolated)
        return "isolate";
    if (!(r->layers & LAYER_PRELOAD))
        return r->notify ? "env,notify" : "env";
    if (r->notify)
        return "env,preload,notify";
    return r->layers & LAYER_ENV ? "env,preload" : "preload";
}

/* Silent for a plain run that is covered, and for a program that never bypasses the layers that the caller chose. */
static int judge_target(struct run *r)
{
    const char *what = gap(r);
    const struct target *t = &r->target;
    bool chosen = !(r->layers & LAYER_AUTO) && target_proxy(t) == TARGET_PROXY_HONOURS && (r->layers & LAYER_ENV);
    if (r->check) {
        printf("program   %s%s%s%s: %s\nlayers    %s\ncoverage  %s\n", *t->script ? t->script : t->path,
               *t->script ? " (" : "", *t->script ? t->path : "", *t->script ? ")" : "", target_text(t->kind),
               layers_text(r), what ? what : "every connection to a host of the rules goes through sidekey, or fails");
    } else if (what && (r->strict || !chosen)) {
        fprintf(stderr, "sidekey run: %s is %s: %s\n", t->path, target_text(t->kind), what);
    }
    if (r->check)
        return what ? 1 : 0;
    if (what && r->strict) {
        fprintf(stderr, "sidekey run: --strict: the program was not started\n");
        return EX_CONFIG;
    }
    return 0;
}

/* The preload layer needs its library. When it is missing: a message with "auto", else an error. */
static int find_preload(struct run *r)
{
    struct err e;
    if (!(r->layers & LAYER_PRELOAD) || run_dir_find_preload(r->preload, &e) == 0)
        return 0;
    if (r->isolated || r->notify) {
        r->layers &= ~(unsigned)LAYER_PRELOAD; /* it would only help with bundles that programs bring */
        return 0;
    }
    if (!(r->layers & LAYER_AUTO) || r->strict)
        return cmd_fail(EX_CANTCREAT, "run", "%s", e.text);
    fprintf(stderr, "sidekey run: %s; programs that ignore HTTPS_PROXY are not covered\n", e.text);
    r->layers = LAYER_ENV;
    return 0;
}

/* --- start --- */

static struct config *load(struct run *r, int *ret_status)
{
    const char *const own[] = { "listen.proxy=127.0.0.1:0",
                                "listen.admin=127.0.0.1:0",
                                "listen.admin_socket=off",
                                "listen.gateway=off",
                                "listen.transparent=off",
                                r->publish,
                                "ca.keep=false",
                                "workers=1" };
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (cmd_config_flag(&r->config, CMD_SET, own[i]) != 0) {
            *ret_status = EX_USAGE;
            return NULL;
        }
    struct config *c = cmd_config_load(&r->config, ret_status);
    if (c) { /* the socket is for "serve", which may be running beside us */
        free(c->listen_socket);
        c->listen_socket = NULL;
        if (r->isolated) { /* all comes from inside, and nobody inside is trusted with the host's network */
            c->listen_proxy.len = 0;
            c->unmatched_private = UNMATCHED_PRIVATE_REFUSE;
        } else if (c->unmatched_private == UNMATCHED_PRIVATE_UNSAID)
            c->unmatched_private = UNMATCHED_PRIVATE_ALLOW;
        c->limits.drain_ms = r->linger ? LINGER_MS : DRAIN_MS;
        if (run_roots_add(c) != 0) {
            config_free(c);
            *ret_status = EX_OSERR;
            return NULL;
        }
    }
    return c;
}

static int set_one(void *arg, const char *name, const char *value)
{
    (void)arg;
    return setenv(name, value, 1);
}

static void say_clash(const char *variable, const char *one, const char *other)
{
    fprintf(stderr, "sidekey run: %s is not set: both %s and %s want it; choose with --placeholder %s=@%s\n", variable,
            one, other, variable, one);
}

/* Those that the configuration gives, then those of the command line. */
static int set_placeholders(const struct run *r)
{
    char name[128];
    struct err e;
    int failed = key_files_write(r->loaded, r->dir, set_one, NULL, &e);
    if (failed)
        return cmd_fail(failed, "run", "%s", e.text);
    failed = placeholders_each(r->loaded, set_one, r->placeholders.count ? NULL : say_clash, NULL);
    for (size_t i = 0; i < r->placeholders.count && !failed; i++) {
        const char *value = cmd_placeholder("run", r->loaded, r->placeholders.texts[i], name, sizeof name);
        failed = !value || setenv(name, value, 1) != 0;
    }
    return failed;
}

static int guard(const struct run *r)
{
    uint16_t ports[2 + ISOLATED_LOCAL_MAX];
    size_t count = 0;
    if (r->layers & LAYER_PRELOAD)
        ports[count++] = r->ready.transparent_port;
    if (r->layers & LAYER_ENV)
        ports[count++] = r->ready.proxy_port;
    for (unsigned i = 0; i < r->isolate.local_count; i++)
        ports[count++] = r->isolate.local[i];
    return guard_apply(ports, count);
}

static void become_program(void *arg)
{
    struct run *r = arg;
    bool preload = r->layers & LAYER_PRELOAD;
    int status = r->isolated ? isolate_mount(r->dir) : 0;
    if (status)
        _exit(status);
    int failed = run_env_apply(&(struct run_env){ .config = r->loaded,
                                                  .dir = r->dir,
                                                  .preload = preload ? r->preload : NULL,
                                                  .password = r->password,
                                                  .variables = r->layers & LAYER_ENV && !r->isolated,
                                                  .strict = r->strict && !r->notify,
                                                  .guarded = r->guard,
                                                  .isolated = r->isolated,
                                                  .java = r->java,
                                                  .proxy_port = r->ready.proxy_port,
                                                  .transparent_port = r->ready.transparent_port });
    if (failed) {
        fprintf(stderr, "sidekey run: cannot set the program's environment: %s\n", strerror(-failed));
        _exit(EX_OSERR);
    }
    if (set_placeholders(r) != 0)
        _exit(EX_USAGE);
    if (r->guard && (failed = guard(r)) != 0) {
        fprintf(stderr, "sidekey run: --guard: %s; the program was not started\n", strerror(-failed));
        _exit(EX_UNAVAILABLE);
    }
    if (r->notify && (failed = trap_enter(r->trap)) != 0) {
        fprintf(stderr, "sidekey run: --layers notify: %s; the program was not started\n",
                failed == -EBUSY ? "this process has a seccomp listener already, and the kernel takes only one"
                                 : strerror(-failed));
        _exit(EX_UNAVAILABLE);
    }
    execvp(r->argv[0], r->argv);
    int error = errno;
    fprintf(stderr, "sidekey run: %s: %s\n", r->argv[0], strerror(error));
    _exit(error == ENOENT ? 127 : 126);
}

static int start_daemon(struct run *r, int dir_lock)
{
    struct supervisor_options s = { .config = r->loaded,
                                    .proxy_password = r->password,
                                    .hints_path =
                                        r->layers & LAYER_PRELOAD || r->isolated || r->notify ? r->hints : NULL };
    int failed = r->isolated ? isolate_begin(&r->isolate) : 0;
    if (failed)
        return cmd_fail(EX_OSERR, "run", "cannot make a socket: %s", strerror(-failed));
    r->isolate.config = r->loaded;
    log_setup("run", r->verbose ? r->loaded->log_level : LOG_WARN, LOG_LOGFMT, STDERR_FILENO);
    int status = run_daemon_start(&(struct run_daemon_options){ .supervisor = s,
                                                                .dir = r->dir,
                                                                .dir_lock = dir_lock,
                                                                .all_covered = r->notify,
                                                                .isolate = r->isolated ? &r->isolate : NULL },
                                  &r->ready);
    if (status == 0 && r->verbose)
        fprintf(stderr, "sidekey run: proxy=%s admin=%s layers=%s\n", r->ready.proxy_text, r->ready.admin_text,
                layers_text(r));
    return status;
}

static int run_trapped(struct run *r)
{
    char ports[RUN_ENV_PORTS_MAX * 6 + 1];
    config_keep_secrets(r->loaded, CONFIG_NOBODY);
    int failed = trap_begin(r->hints, run_env_ports(r->loaded, ports), r->ready.transparent_port, &r->trap);
    if (failed)
        return cmd_fail(EX_OSERR, "run", "--layers notify: %s; the program was not started", strerror(-failed));
    return run_init(become_program, r, r->ready.pid, r->trap);
}

/* The private proxy, then the program.  Returns only as an init, or when something failed. */
static int run(struct run *r)
{
    struct err e;
    int dir_lock, status = EX_SOFTWARE;
    if (run_dir_make(r->dir, &dir_lock, &e) != 0)
        return cmd_fail(EX_CANTCREAT, "run", "%s", e.text);
    snprintf(r->publish, sizeof r->publish, "ca.publish=%s", r->dir);
    run_dir_file(r->dir, "preload.table", r->hints);
    make_password(r->password);
    if (!(r->loaded = load(r, &status)) || (status = start_daemon(r, dir_lock)) != 0) {
        run_dir_remove(r->dir);
        return status;
    }
    close(dir_lock);
    if (r->notify)
        return run_trapped(r);
    if (run_init_needed())
        return run_init(become_program, r, r->ready.pid, NULL);
    become_program(r);
    return EX_OSERR;
}

int cmd_run(int argc, char **argv)
{
    static struct run r;
    struct err e;
    int status = parse(&r, argc, argv);
    if (status)
        return status;
    r.config.quiet = !r.verbose;
    r.config.placeholders = CMD_PLACEHOLDERS_NEEDED;
    r.config.key_files = true;
    if (target_inspect(r.argv[0], &r.target, &e) != 0) {
        fprintf(stderr, "sidekey run: %s\n", e.text);
        return access(r.argv[0], F_OK) == 0 && strchr(r.argv[0], '/') ? 126 : 127;
    }
    const char *missing = r.guard ? guard_missing() : NULL;
    if (r.notify)
        missing = trap_missing();
    if (missing)
        return cmd_fail(EX_UNAVAILABLE, "run", "%s: %s; the program was not started",
                        r.guard ? "--guard" : "--layers notify", missing);
    if (r.isolated && r.check && (status = isolate_try()) != 0)
        return status;
    if ((status = find_preload(&r)) != 0)
        return status;
    if ((status = judge_target(&r)) != 0 || r.check)
        return status;
    return run(&r);
}
