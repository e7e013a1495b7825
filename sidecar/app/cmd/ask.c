#include "app/cmd/ask.h"
#include "app/cmd/run_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

/* These ask the running sidekey (app/cmd/admin_client.h): a distroless image has no curl. */

static int with_config(int argc, char **argv, int words, int (*run)(const struct config *, char **argv, char **words))
{
    static const struct option flags[] = { CMD_CONFIG_LONG, CMD_LONG_END };
    struct cmd_config c = { .quiet = true, .options = { .files = SCHEMA_FILES_NONE } };
    int flag, status = EX_OK;
    while ((flag = cmd_flag(argc, argv, CMD_CONFIG_SHORT, flags)) != -1)
        if (flag == '?' || cmd_config_flag(&c, flag, optarg) != 0)
            return EX_USAGE;
    if (argc - optind != words)
        return words ? cmd_usage(argv[0], "needs the name of a credential: sidekey %s NAME", argv[0])
                     : cmd_usage(argv[0], "takes no arguments");
    struct config *config = cmd_config_load(&c, &status);
    if (!config)
        return status;
    status = run(config, argv, argv + optind);
    config_free(config);
    return status;
}

int ask(const struct config *config, const char *name, const char *method, const char *path, struct buf *body)
{
    struct err e;
    int status = 0, failed = admin_client_ask(config, method, path, &status, body, &e);
    if (failed)
        return cmd_fail(failed, name, "%s", e.text);
    return status == 200 ? EX_OK : EX_UNAVAILABLE;
}

static int healthcheck(const struct config *config, char **argv, char **words)
{
    struct buf body;
    (void)words;
    buf_init(&body, ADMIN_CLIENT_ANSWER_MAX);
    int status = ask(config, argv[0], "GET", "/readyz", &body);
    if (status != EX_OK && body.len)
        fprintf(stderr, "not ready:\n%.*s", (int)body.len, buf_slice(&body).ptr);
    buf_done(&body);
    return status;
}

/* refresh NAME, reset NAME: POST /refresh/NAME, /reset/NAME. */
static int act_on_credential(const struct config *config, char **argv, char **words)
{
    struct buf body;
    char path[256];
    for (size_t i = 0; i < config->credential_count; i++)
        if (strcmp(config->credentials[i].name, words[0]) == 0)
            goto known;
    return cmd_fail(EX_USAGE, argv[0], "%s has no credential '%s'", config->path, words[0]);
known:
    snprintf(path, sizeof path, "/%s/%s", argv[0], words[0]);
    buf_init(&body, ADMIN_CLIENT_ANSWER_MAX);
    int status = ask(config, argv[0], "POST", path, &body);
    fprintf(status == EX_OK ? stdout : stderr, "%s: %.*s", words[0], (int)body.len,
            body.len ? buf_slice(&body).ptr : "\n");
    buf_done(&body);
    return status;
}

static int reload(const struct config *config, char **argv, char **words)
{
    struct buf body;
    (void)words;
    buf_init(&body, ADMIN_CLIENT_ANSWER_MAX);
    int status = ask(config, argv[0], "POST", "/reload", &body);
    fprintf(status == EX_OK ? stdout : stderr, "%.*s", (int)body.len, body.len ? buf_slice(&body).ptr : "");
    buf_done(&body);
    return status;
}

/* ---- whom to ask, whatever the configuration is worth ---- */

static int set_admin(struct config *c, const char *admin)
{
    struct address at;
    if (admin[0] == '/') {
        free(c->admin_socket);
        c->admin_socket = strdup(admin);
        c->admin_socket_default = false;
        c->listen_admin.len = 0;
        return c->admin_socket ? 0 : -1;
    }
    if (address_parse(slice_str(admin), 9118, &at) != 0)
        return -1;
    c->listen_admin = at;
    free(c->admin_socket);
    c->admin_socket = strdup("off");
    c->admin_socket_default = false;
    return c->admin_socket ? 0 : -1;
}

static bool is_named(const struct cmd_config *c)
{
    static const char *const keys[] = { "listen.admin=", "listen.admin_socket=" };
    for (size_t i = 0; i < c->set_count; i++)
        for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
            if (strncmp(c->set[i], keys[k], strlen(keys[k])) == 0)
                return true;
    return getenv("SIDEKEY_LISTEN_ADMIN") || getenv("SIDEKEY_LISTEN_ADMIN_SOCKET");
}

/* What the running sidekey says of itself: a configuration on disk may say something else by now. */
static void take_running(struct config *config, const struct cmd_config *c)
{
    struct run_file running;
    char asked[PATH_MAX];
    bool found = run_file_read(&running) == 0;
    if (!found || (c->options.path && (!realpath(c->options.path, asked) || strcmp(asked, running.config) != 0)))
        return;
    if (running.admin[0] && set_admin(config, running.admin) != 0)
        return;
    if (!running.admin_socket[0])
        return;
    free(config->admin_socket);
    config->admin_socket = strdup(running.admin_socket);
    if (!running.admin[0])
        config->listen_admin.len = 0;
}

struct config *ask_config(struct cmd_config *c, const char *name, const char *admin, int *ret_exit)
{
    struct err e = { "" };
    int ignored;
    c->options.files = SCHEMA_FILES_NONE;
    c->options.set = c->set;
    struct config *config = config_load(&c->options, &ignored, &e);
    if (!config)
        config = config_parse(SLICE("{}"), "the defaults", &c->options, &e);
    *ret_exit = EX_USAGE;
    if (!config) {
        cmd_fail(EX_USAGE, name, "%s", e.text);
        return NULL;
    }
    if (!admin && !is_named(c))
        take_running(config, c);
    if (admin && set_admin(config, admin) != 0) {
        cmd_usage(name, "--admin needs IP:PORT or the path of a socket");
        config_free(config);
        return NULL;
    }
    return config;
}

int cmd_healthcheck(int argc, char **argv)
{
    static const struct option flags[] = { CMD_CONFIG_LONG,
                                           { "admin", required_argument, NULL, CMD_OWN },
                                           CMD_LONG_END };
    struct cmd_config c = { .quiet = true };
    const char *admin = NULL;
    int flag, status = EX_OK;
    while ((flag = cmd_flag(argc, argv, CMD_CONFIG_SHORT, flags)) != -1) {
        if (flag == CMD_OWN)
            admin = optarg;
        else if (flag == '?' || cmd_config_flag(&c, flag, optarg) != 0)
            return EX_USAGE;
    }
    if (optind < argc)
        return cmd_usage(argv[0], "takes no arguments");
    struct config *config = ask_config(&c, argv[0], admin, &status);
    if (!config)
        return status;
    status = healthcheck(config, argv, NULL);
    config_free(config);
    return status;
}

int cmd_refresh(int argc, char **argv)
{
    return with_config(argc, argv, 1, act_on_credential);
}

int cmd_reload(int argc, char **argv)
{
    return with_config(argc, argv, 0, reload);
}

int cmd_reset(int argc, char **argv)
{
    return with_config(argc, argv, 1, act_on_credential);
}
