#include "app/cmd/init_found.h"

#include "app/cmd/cmd.h"
#include "http/authority.h"
#include "refresh/login/login.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

static int no_memory(void)
{
    return cmd_fail(EX_OSERR, "init", "out of memory");
}

/* value NULL: nothing is added. */
static int add(struct init_found *f, const char *key, const char *value)
{
    char *text = NULL;
    if (!value)
        return 0;
    if (f->count == INIT_FOUND_MAX || asprintf(&text, "%s=%s", key, value) < 0)
        return no_memory();
    f->values[f->count++] = text;
    return 0;
}

static int write_secret(const char *path, struct slice secret, struct init_found *f)
{
    char file[PATH_MAX];
    if (snprintf(file, sizeof file, "%s.client-secret", path) >= (int)sizeof file)
        return cmd_fail(EX_CANTCREAT, "init", "%s: the name is too long", path);
    int fd = open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return cmd_fail(EX_CANTCREAT, "init", "%s: %s", file, strerror(errno));
    ssize_t written = write(fd, secret.ptr, secret.len);
    if (close(fd) != 0 || written != (ssize_t)secret.len)
        return cmd_fail(EX_IOERR, "init", "%s: cannot write it", file);
    fprintf(stderr, "%s holds the client secret.\n", file);
    return add(f, "client_secret", file);
}

static int take(const char *resource, const struct login_found *found, const char *path, struct init_found *ret)
{
    struct authority a;
    struct slice rest;
    if (authority_parse_uri(slice_str(resource), &a, &rest) != 0)
        return cmd_fail(EX_USAGE, "init", "resource must be the https URL of the server");
    int status = add(ret, "resource", resource) | add(ret, "domain", a.host) | add(ret, "provider", found->issuer)
                 | add(ret, "token_url", found->token_url) | add(ret, "client_id", found->client_id)
                 | add(ret, "login_scope", found->scope)
                 | add(ret, "client_auth", found->secret_in_body ? "body" : NULL);
    if (status)
        return EX_OSERR;
    return secret_empty(&found->client_secret) ? 0 : write_secret(path, secret_peek(&found->client_secret), ret);
}

int init_found(const char *resource, bool has_client, const char *path, struct init_found *ret)
{
    const struct dial_options network = { .timeout_ms = 0 }; /* private addresses are refused */
    struct login_found found = { .issuer = NULL };
    struct err e = { "" };
    fprintf(stderr, "Asking %s\n", resource);
    int status = login_register(&network, resource, has_client, &found, &e);
    if (status)
        cmd_fail(status, "init", "%s", e.text);
    else {
        fprintf(stderr, "Its authorization server is %s%s\n", found.issuer,
                has_client ? "" : ", where sidekey is registered now");
        status = take(resource, &found, path, ret);
    }
    login_found_done(&found);
    return status;
}

void init_found_done(struct init_found *f)
{
    for (size_t i = 0; i < f->count; i++)
        free(f->values[i]);
    f->count = 0;
}
