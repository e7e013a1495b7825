#include "app/cmd/cmd.h"

#include <stdio.h>
#include <sysexits.h>

/* Hidden: what docs/config.schema.json is made from. */
static int print_schema(void)
{
    struct buf out;
    buf_init(&out, 1024 * 1024);
    int failed = config_schema(&out);
    if (!failed && fwrite(buf_slice(&out).ptr, 1, out.len, stdout) != out.len)
        failed = -1;
    buf_done(&out);
    return failed || fflush(stdout) != 0 ? cmd_fail(EX_IOERR, "check", "cannot print the schema") : EX_OK;
}

int cmd_check(int argc, char **argv)
{
    static const struct option flags[] = { CMD_CONFIG_LONG, { "schema", no_argument, NULL, CMD_OWN }, CMD_LONG_END };
    struct cmd_config load = { .options.files = SCHEMA_FILES_ALL };
    int flag, failed;
    while ((flag = cmd_flag(argc, argv, CMD_CONFIG_SHORT, flags)) != -1) {
        if (flag == '?')
            return EX_USAGE;
        if (flag == CMD_OWN)
            return print_schema();
        if ((failed = cmd_config_flag(&load, flag, optarg)) != 0)
            return failed;
    }
    if (optind == argc - 1 && !load.options.path)
        load.options.path = argv[optind++];
    if (optind < argc)
        return cmd_usage("check", "one file at a time, please");
    struct config *c = cmd_config_load(&load, &failed);
    if (!c)
        return failed;
    printf("%s: ok: %zu credential%s, %zu rule%s\n", c->path, c->credential_count, c->credential_count == 1 ? "" : "s",
           c->rule_count, c->rule_count == 1 ? "" : "s");
    config_free(c);
    return EX_OK;
}
