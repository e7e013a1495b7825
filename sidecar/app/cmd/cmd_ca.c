/* sidekey ca show: the certificates that programs must trust.   stdout: the PEM alone, so that "> ca.pem" works;
 * stderr: what they say.   sidekey ca rotate: has a running sidekey make the next one. */
#include "app/cmd/admin_client.h"
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
    int failed = describe_certificates(buf_slice(pem), &text, &e);
    if (failed)
        failed = cmd_fail(EX_DATAERR, "ca", "%s: %s", path, e.text);
    else if (fwrite(buf_slice(pem).ptr, 1, pem->len, stdout) != pem->len || fflush(stdout) != 0)
        failed = cmd_fail(EX_IOERR, "ca", "cannot write");
    else
        fprintf(stderr, "file      %s\n%.*s", path, (int)text.len, buf_slice(&text).ptr);
    buf_done(&text);
    return failed;
}

static int load_and_show(const struct config *c)
{
    int status;
    struct err e;
    struct buf pem;
    char *path = NULL;
    buf_init(&pem, 4 * 1024 * 1024);
    if (asprintf(&path, "%s/ca.pem", c->ca_publish) < 0)
        status = cmd_fail(EX_SOFTWARE, "ca", "out of memory");
    else if (config_file_read(path, &pem, &status, &e) != 0)
        cmd_fail(status, "ca", "%s: \"sidekey serve\" writes this file when it starts (ca.publish: %s)", e.text,
                 c->ca_publish);
    else
        status = show(path, &pem);
    free(path);
    buf_done(&pem);
    return status;
}

static int rotate(const struct config *c, bool at_once)
{
    struct err e;
    struct buf body;
    int http = 0, status;
    buf_init(&body, ADMIN_CLIENT_ANSWER_MAX);
    status = admin_client_ask(c, "POST", at_once ? "/ca/rotate?now" : "/ca/rotate", &http, &body, &e);
    if (status != EX_OK)
        cmd_fail(status, "ca", "%s", e.text);
    else if (http != 200)
        status = cmd_fail(EX_UNAVAILABLE, "ca", "%.*s", (int)(body.len ? body.len - 1 : 0),
                          body.len ? buf_slice(&body).ptr : "");
    else
        printf("%.*s", (int)body.len, body.len ? buf_slice(&body).ptr : "");
    buf_done(&body);
    return status;
}

int cmd_ca(int argc, char **argv)
{
    static const struct option flags[] = { CMD_CONFIG_LONG, { "now", no_argument, NULL, CMD_OWN }, CMD_LONG_END };
    struct cmd_config load = { .quiet = true, .options.files = SCHEMA_FILES_NONE };
    const char *word = NULL;
    bool now = false;
    int flag, status;
    for (;;) { /* flags may stand on either side of the word */
        while ((flag = cmd_flag(argc, argv, CMD_CONFIG_SHORT, flags)) != -1) {
            if (flag == '?')
                return EX_USAGE;
            if (flag == CMD_OWN)
                now = true;
            else if ((status = cmd_config_flag(&load, flag, optarg)) != 0)
                return status;
        }
        if (optind == argc)
            break;
        if (word)
            return cmd_usage("ca", "takes one action: show or rotate");
        word = argv[optind++];
    }
    bool show_it = word && strcmp(word, "show") == 0, rotate_it = word && strcmp(word, "rotate") == 0;
    if (!show_it && !rotate_it)
        return cmd_usage("ca", "needs an action: sidekey ca show, or sidekey ca rotate [--now]");
    if (now && !rotate_it)
        return cmd_usage("ca", "--now works only with rotate");
    struct config *c = cmd_config_load(&load, &status);
    if (!c)
        return status;
    status = show_it ? load_and_show(c) : rotate(c, now);
    config_free(c);
    return status;
}
