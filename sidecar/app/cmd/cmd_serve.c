#include "app/cmd/cmd.h"
#include "app/cmd/run_file.h"
#include "app/inherited.h"
#include "app/notify.h"
#include "app/supervisor.h"
#include "base/log.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

struct serving {
    struct cmd_config c;
    const struct config *config; /* until it is ready: then the supervisor's alone */
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
    int len = snprintf(line, sizeof line, "ready proxy=%s admin=%s%s%s%s%s\n", listeners->proxy_text,
                       listeners->admin_text, gateway ? " gateway=" : "", gateway ? listeners->gateway_text : "",
                       local ? " socket=" : "", local ? listeners->local.path : "");
    (void)!write(STDERR_FILENO, line, (size_t)len); /* a closed stderr is no reason to stop */
    log_info(log_msg("ready"), log_str("proxy", listeners->proxy_text), log_str("admin", listeners->admin_text),
             log_str("gateway", gateway ? listeners->gateway_text : ""),
             log_str("socket", local ? listeners->local.path : ""));
    return 0;
}

int cmd_serve(int argc, char **argv)
{
    static const struct option flags[] = { CMD_CONFIG_LONG, CMD_LONG_END };
    static struct serving serving;
    struct cmd_config *c = &serving.c;
    int flag, status = EX_OK;
    while ((flag = cmd_flag(argc, argv, CMD_CONFIG_SHORT, flags)) != -1) {
        if (flag == '?')
            return EX_USAGE;
        if ((status = cmd_config_flag(c, flag, optarg)) != 0)
            return EX_USAGE;
    }
    if (optind < argc)
        return cmd_usage(argv[0], "unexpected argument '%s'", argv[optind]);
    bool terminal = isatty(STDOUT_FILENO);
    log_setup("supervisor", LOG_INFO, terminal ? LOG_LOGFMT : LOG_JSON, STDOUT_FILENO);
    c->placeholders = CMD_PLACEHOLDERS_NEEDED;
    c->errors = terminal ? CMD_TO_STDERR : CMD_TO_BOTH;
    struct config *config = cmd_config_load(c, &status);
    if (!config)
        return status;
    c->errors = CMD_TO_LOG;
    serving.config = config;
    log_setup("supervisor", config->log_level, terminal ? LOG_LOGFMT : LOG_JSON, STDOUT_FILENO);
    notify_begin();
    inherited_begin();
    status = supervisor_run(
        &(struct supervisor_options){ .config = config, .reload = on_reload, .on_ready = on_ready, .arg = &serving });
    run_file_remove();
    log_close();
    return status;
}
