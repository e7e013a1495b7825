#include "app/cmd/admin_client.h"
#include "app/cmd/cmd.h"
#include "base/json_safe.h"

#include <stdio.h>
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
        return words ? cmd_usage(argv[0], "which credential? sidekey %s NAME", argv[0])
                     : cmd_usage(argv[0], "takes no words");
    struct config *config = cmd_config_load(&c, &status);
    if (!config)
        return status;
    status = run(config, argv, argv + optind);
    config_free(config);
    return status;
}

static int ask(const struct config *config, const char *name, const char *method, const char *path, struct buf *body)
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

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "-";
}

static int print_status(const json_t *root)
{
    const json_t *list = json_object_get(root, "credentials");
    printf("%-20s %-16s %5s  %-20s  %-20s  %s\n", "CREDENTIAL", "STATE", "GEN", "EXPIRES", "NEXT REFRESH",
           "LAST ERROR");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *c = json_array_get(list, i);
        printf("%-20s %-16s %5lld  %-20s  %-20s  %s\n", text_of(c, "name"), text_of(c, "state"),
               (long long)json_integer_value(json_object_get(c, "generation")), text_of(c, "expires_at"),
               text_of(c, "next_refresh"), text_of(c, "last_error"));
    }
    return EX_OK;
}

static int status(const struct config *config, char **argv, char **words)
{
    struct buf body;
    (void)words;
    buf_init(&body, ADMIN_CLIENT_ANSWER_MAX);
    int failed = ask(config, argv[0], "GET", "/status", &body);
    json_t *root = failed ? NULL : json_safe_load(buf_slice(&body), 0, NULL);
    if (!failed)
        failed =
            root ? print_status(root) : cmd_fail(EX_PROTOCOL, argv[0], "the running sidekey did not answer with JSON");
    json_decref(root);
    buf_done(&body);
    return failed;
}

int cmd_healthcheck(int argc, char **argv)
{
    return with_config(argc, argv, 0, healthcheck);
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

int cmd_status(int argc, char **argv)
{
    return with_config(argc, argv, 0, status);
}
