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

/* Hidden: for the completions of shells. */
static void print_names(const struct config *c)
{
    for (size_t i = 0; i < c->credential_count; i++)
        puts(c->credentials[i].name);
}

int cmd_check(int argc, char **argv)
{
    enum { SCHEMA = CMD_OWN, NAMES };
    static const struct option flags[] = {
        CMD_CONFIG_LONG, { "schema", no_argument, NULL, SCHEMA }, { "names", no_argument, NULL, NAMES }, CMD_LONG_END
    };
    struct cmd_config load = { .options.files = SCHEMA_FILES_ALL };
    int flag, failed;
    while ((flag = cmd_flag(argc, argv, CMD_CONFIG_SHORT, flags)) != -1) {
        if (flag == '?')
            return EX_USAGE;
        if (flag == SCHEMA)
            return print_schema();
        load.quiet = load.quiet || flag == NAMES;
        if (flag == NAMES)
            load.options.files = SCHEMA_FILES_NONE;
        else if ((failed = cmd_config_flag(&load, flag, optarg)) != 0)
            return failed;
    }
    if (optind == argc - 1 && !load.options.path)
        load.options.path = argv[optind++];
    if (optind < argc)
        return cmd_usage("check", "checks one file at a time");
    struct config *c = cmd_config_load(&load, &failed);
    if (!c)
        return failed;
    if (load.quiet)
        print_names(c);
    else
        printf("%s: ok: %zu credential%s, %zu rule%s\n", c->path, c->credential_count,
               c->credential_count == 1 ? "" : "s", c->rule_count, c->rule_count == 1 ? "" : "s");
    config_free(c);
    return EX_OK;
}
