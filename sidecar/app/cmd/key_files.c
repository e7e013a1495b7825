#include "app/cmd/key_files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/str.h"
#include "base/write_all.h"
#include "crypto/throwaway.h"
#include "net/ipc/msg.h"
#include "proxy/own_jwt.h"

#define FILE_MAX_BYTES (16 * 1024)

/* --- what is in them --- */

static int add_member(struct buf *out, const char *name, struct slice value)
{
    int failed = buf_printf(out, ",\n  \"%s\": ", name);
    return failed ? failed : str_add_json(out, value);
}

/* As the console of Google Cloud makes them.  The account is where sidekey knows the credential by (proxy/own_jwt.h).
 */
static int add_service_account(const struct config *c, const struct credential_spec *spec, struct buf *out)
{
    char account[MSG_NAME_MAX + sizeof OWN_JWT_ACCOUNT_SUFFIX];
    snprintf(account, sizeof account, "%s" OWN_JWT_ACCOUNT_SUFFIX, spec->name);
    int failed = buf_add_str(out, "{\n  \"type\": \"service_account\",\n  \"project_id\": \"sidekey\",\n"
                                  "  \"private_key_id\": \"sidekey\",\n  \"universe_domain\": \"googleapis.com\",\n"
                                  "  \"auth_uri\": \"https://accounts.google.com/o/oauth2/auth\",\n"
                                  "  \"token_uri\": \"https://oauth2.googleapis.com/token\"");
    if (!failed)
        failed = add_member(out, "client_email", slice_str(account));
    if (!failed)
        failed = add_member(out, "client_id", slice_str(spec->name));
    if (!failed)
        failed = add_member(out, "private_key", buf_slice(&c->throwaway_pem));
    return failed ? failed : buf_add_str(out, "\n}\n");
}

/* As `gcloud auth application-default login` makes them. */
static int add_user(const struct credential_spec *spec, struct buf *out)
{
    struct slice placeholder = slice_str(spec->placeholder_text);
    int failed = buf_add_str(out, "{\n  \"type\": \"authorized_user\",\n  \"universe_domain\": \"googleapis.com\"");
    if (!failed)
        failed = add_member(out, "client_id", slice_str(spec->client_id ? spec->client_id : spec->name));
    if (!failed)
        failed = add_member(out, "client_secret", placeholder);
    if (!failed)
        failed = add_member(out, "refresh_token", placeholder);
    return failed ? failed : buf_add_str(out, "\n}\n");
}

static int fill(const struct config *c, const struct credential_spec *spec, struct buf *out)
{
    struct slice pem = buf_slice(&c->throwaway_pem);
    int failed = 0;
    switch (spec->placeholder_file) {
    case PLACEHOLDER_FILE_GOOGLE_SERVICE_ACCOUNT: return add_service_account(c, spec, out);
    case PLACEHOLDER_FILE_GOOGLE_USER: return add_user(spec, out);
    case PLACEHOLDER_FILE_CERTIFICATE: failed = throwaway_certificate(pem, out); break;
    case PLACEHOLDER_FILE_KEY:
    case PLACEHOLDER_FILE_NONE: break;
    }
    return failed ? failed : buf_add(out, pem);
}

/* --- where they are --- */

static bool is_json(const struct credential_spec *spec)
{
    return spec->placeholder_file == PLACEHOLDER_FILE_GOOGLE_SERVICE_ACCOUNT
           || spec->placeholder_file == PLACEHOLDER_FILE_GOOGLE_USER;
}

/* Written beside, then renamed: a program never reads half of it, and nobody's link is followed. */
static int replace_file(const char *path, struct slice bytes)
{
    char beside[PATH_MAX + 16];
    snprintf(beside, sizeof beside, "%s.%ld", path, (long)getpid());
    int fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    int failed = write_all(fd, bytes);
    if (close(fd) != 0 && !failed)
        failed = -errno;
    if (!failed && rename(beside, path) != 0)
        failed = -errno;
    if (failed)
        unlink(beside);
    return failed;
}

static int write_file(const struct config *c, const struct credential_spec *spec, const char *path, struct err *e)
{
    struct buf bytes;
    buf_init_secret(&bytes, FILE_MAX_BYTES);
    int failed = fill(c, spec, &bytes);
    if (!failed)
        failed = replace_file(path, buf_slice(&bytes));
    buf_done(&bytes);
    return failed ? err_set(e, "cannot write the key file %s: %s", path, strerror(-failed)) : 0;
}

/* A file is of use where a rule answers what programs do with it. */
static bool has_one(const struct config *c, const struct credential_spec *spec)
{
    bool answered = false;
    for (size_t i = 0; i < c->rule_count && !answered; i++)
        answered = c->rules[i].answer && strcmp(c->rules[i].credential, spec->name) == 0;
    return answered && spec->placeholder_text && spec->placeholder_file != PLACEHOLDER_FILE_NONE;
}

static bool wanted_before(const struct config *c, const struct credential_spec *spec, const char *variable)
{
    for (const struct credential_spec *other = c->credentials; other < spec; other++)
        for (char **name = has_one(c, other) ? other->placeholder_file_variables : NULL; name && *name; name++)
            if (strcmp(*name, variable) == 0)
                return true;
    return false;
}

int key_files_write(const struct config *c, const char *dir,
                    int (*fn)(void *arg, const char *variable, const char *path), void *arg, struct err *e)
{
    char path[PATH_MAX];
    int failed = 0;
    for (const struct credential_spec *spec = c->credentials; spec < c->credentials + c->credential_count && !failed;
         spec++) {
        if (!has_one(c, spec))
            continue;
        int len = snprintf(path, sizeof path, "%s/key-%s.%s", dir, spec->name, is_json(spec) ? "json" : "pem");
        failed = len < (int)sizeof path ? write_file(c, spec, path, e) : err_set(e, "the path is too long: %s", dir);
        for (char **name = spec->placeholder_file_variables; !failed && name && *name; name++)
            if (!wanted_before(c, spec, *name))
                failed = fn(arg, *name, path);
    }
    return failed;
}
