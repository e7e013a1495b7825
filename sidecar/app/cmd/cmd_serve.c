#include "app/cmd/cmd.h"
#include "app/cmd/run_file.h"
#include "app/supervisor_handover.h"
#include "app/inherited.h"
#include "app/notify.h"
#include "base/log.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

struct serving {
    struct cmd_config c;
    const struct config *config; /* until it is ready: then the supervisor's alone */
    bool taken;                  /* from a previous version, which has said that it is ready */
};

static struct config *on_reload(void *arg)
{
    struct serving *serving = arg;
    int status;
    return cmd_config_load(&serving->c, &status);
}

static int on_ready(void *arg, const struct listeners *listeners)
{
    char line[400];
    bool gateway = strcmp(listeners->gateway_text, "off") != 0;
    bool local = listeners->local.fd >= 0;
    const struct serving *serving = arg;
    int failed = run_file_write(serving->config, listeners);
    if (failed)
        log_debug(log_msg("cannot write the run file: commands use the address in their configuration"),
                  log_str("reason", strerror(-failed)));
    if (serving->taken)
        return 0;
    int len = snprintf(line, sizeof line, "ready proxy=%s admin=%s%s%s%s%s\n", listeners->proxy_text,
                       listeners->admin_text, gateway ? " gateway=" : "", gateway ? listeners->gateway_text : "",
                       local ? " socket=" : "", local ? listeners->local.path : "");
    (void)!write(STDERR_FILENO, line, (size_t)len); /* a closed stderr is no reason to stop */
    log_info(log_msg("ready"), log_str("proxy", listeners->proxy_text), log_str("admin", listeners->admin_text),
             log_str("gateway", gateway ? listeners->gateway_text : ""),
             log_str("socket", local ? listeners->local.path : ""));
    return 0;
}

/* Reads the flags and the configuration.  NULL: *ret_status is the exit status. */
static struct config *begin(int argc, char **argv, struct serving *serving, int *ret_status)
{
    static const struct option flags[] = { CMD_CONFIG_LONG, CMD_LONG_END };
    struct cmd_config *c = &serving->c;
    *ret_status = EX_USAGE;
    for (int flag; (flag = cmd_flag(argc, argv, CMD_CONFIG_SHORT, flags)) != -1;)
        if (flag == '?' || cmd_config_flag(c, flag, optarg) != 0)
            return NULL;
    if (optind < argc) {
        cmd_usage(argv[0], "unexpected argument '%s'", argv[optind]);
        return NULL;
    }
    bool terminal = isatty(STDOUT_FILENO);
    log_setup("supervisor", LOG_INFO, terminal ? LOG_LOGFMT : LOG_JSON, STDOUT_FILENO);
    c->placeholders = CMD_PLACEHOLDERS_NEEDED;
    if (!serving->taken)
        c->errors = terminal ? CMD_TO_STDERR : CMD_TO_BOTH;
    struct config *config = cmd_config_load(c, ret_status);
    c->errors = CMD_TO_LOG;
    serving->config = config;
    if (config)
        log_setup("supervisor", config->log_level, terminal ? LOG_LOGFMT : LOG_JSON, STDOUT_FILENO);
    return config;
}

static int serve(struct config *config, struct serving *serving, char **flags, int handover_fd)
{
    int status = supervisor_run(&(struct supervisor_options){ .config = config,
                                                              .reload = on_reload,
                                                              .take_over = flags,
                                                              .handover_fd = handover_fd,
                                                              .on_ready = on_ready,
                                                              .arg = serving });
    run_file_remove();
    log_close();
    return status;
}

int cmd_serve(int argc, char **argv)
{
    static struct serving serving;
    int status;
    struct config *config = begin(argc, argv, &serving, &status);
    if (!config)
        return status;
    notify_begin();
    inherited_begin();
    return serve(config, &serving, argv + 1, 0);
}

/* As much as can be tried beside the version that serves. */
static int try_out(struct config *config, int handover_fd)
{
    struct err e;
    int failed = supervisor_handover_check(handover_fd, &e);
    if (!failed)
        failed = supervisor_roots_check(config, &e);
    if (failed)
        log_error(log_msg("this program cannot take over"), log_str("version", SIDEKEY_VERSION),
                  log_str("reason", e.text));
    config_free(config);
    log_close();
    return failed ? EX_UNAVAILABLE : EX_OK;
}

int cmd_take_over(int argc, char **argv)
{
    static struct serving serving = { .taken = true, .c.errors = CMD_TO_LOG };
    int status, fd = argc > 2 ? atoi(argv[2]) : 0;
    bool trial = fd > 0 && strcmp(argv[1], "trial") == 0;
    if (fd < 3 || fcntl(fd, F_GET_SEALS) < 0 || (!trial && strcmp(argv[1], "serve") != 0))
        return cmd_fail(EX_USAGE, argv[0], "only a running sidekey calls this, when its program file was replaced");
    (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    serving.c.quiet = trial; /* the warnings are those of the real thing */
    struct config *config = begin(argc - 2, argv + 2, &serving, &status);
    if (!config) {
        log_close();
        return status;
    }
    return trial ? try_out(config, fd) : serve(config, &serving, argv + 3, fd);
}
