/* sidekey ca show: the certificate that programs must trust.   stdout: the PEM alone, so that "> ca.pem" works; stderr:
 * what it says. */
#include "app/cmd/cmd.h"
#include "app/config/config_file.h"
#include "certs/describe.h"

#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

static int show(const char *path, const struct buf *pem)
{
    struct buf text;
    struct err e;
    buf_init(&text, 64 * 1024);
    int failed = describe_certificate(buf_slice(pem), &text, &e);
    if (failed)
        failed = cmd_fail(EX_DATAERR, "ca", "%s: %s", path, e.text);
    else if (fwrite(buf_slice(pem).ptr, 1, pem->len, stdout) != pem->len || fflush(stdout) != 0)
        failed = cmd_fail(EX_IOERR, "ca", "cannot write");
    else
        fprintf(stderr, "file      %s\n%.*s", path, (int)text.len, buf_slice(&text).ptr);
    buf_done(&text);
    return failed;
}

static int load_and_show(struct cmd_config *load)
{
    int status;
    struct err e;
    struct buf pem;
    char *path = NULL;
    struct config *c = cmd_config_load(load, &status);
    if (!c)
        return status;
    buf_init(&pem, 1024 * 1024);
    if (asprintf(&path, "%s/ca.pem", c->ca_publish) < 0)
        status = cmd_fail(EX_SOFTWARE, "ca", "out of memory");
    else if (config_file_read(path, &pem, &status, &e) != 0)
        cmd_fail(status, "ca", "%s: it is published when \"sidekey serve\" starts (ca.publish: %s)", e.text,
                 c->ca_publish);
    else
        status = show(path, &pem);
    free(path);
    buf_done(&pem);
    config_free(c);
    return status;
}

int cmd_ca(int argc, char **argv)
{
    static const struct option flags[] = { CMD_CONFIG_LONG, CMD_LONG_END };
    struct cmd_config load = { .quiet = true, .options.files = SCHEMA_FILES_NONE };
    bool asked = false;
    int flag, failed;
    for (;;) { /* flags may stand on either side of "show" */
        while ((flag = cmd_flag(argc, argv, CMD_CONFIG_SHORT, flags)) != -1) {
            if (flag == '?')
                return EX_USAGE;
            if ((failed = cmd_config_flag(&load, flag, optarg)) != 0)
                return failed;
        }
        if (optind == argc)
            break;
        if (asked || strcmp(argv[optind++], "show") != 0)
            return cmd_usage("ca", "there is only: sidekey ca show");
        asked = true;
    }
    return asked ? load_and_show(&load) : cmd_usage("ca", "what about it? There is: sidekey ca show");
}
