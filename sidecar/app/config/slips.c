#include "app/config/slips.h"

#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

static bool is_variable(const char *at)
{
    size_t len = strspn(at, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_");
    return len && at[len] == '}';
}

const char *slips_text(const char *text)
{
    for (const char *at = strstr(text, "${"); at; at = strstr(at + 2, "${"))
        if (is_variable(at + 2))
            return "variables are not replaced here, so ${NAME} would be sent as it stands: write the value, or "
                   "{env: NAME} where a secret is asked for";
    return NULL;
}

/* Members of a token response that look like secrets never leave the keeper (docs/configuration.md, "inject"). */
const char *slips_format(char **io_text)
{
    for (const char *at = strchr(*io_text, '{'); at; at = strchr(at + 1, '{')) {
        char name[64];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(at + 1, "}"), at + 1);
        if (strcmp(name, "access_token") != 0 && strcasestr(name, "token"))
            return "the token is {access_token}; other members with \"token\" in their name are not sent";
        if (strcasestr(name, "secret") || strcasestr(name, "password"))
            return "members with \"secret\" or \"password\" in their name are not sent; the token is {access_token}";
    }
    return NULL;
}

const char *slips_mode(const char *path)
{
    struct statvfs fs;
    bool fixed = statvfs(path, &fs) == 0 && fs.f_flag & ST_RDONLY;
    return fixed ? "it lies in a read-only volume: set defaultMode: 0440 there (Kubernetes: with fsGroup)"
                 : "chmod o-rw it";
}

const char *slips_yaml(struct slice text, size_t line, size_t column, const char *context)
{
    struct slice at = { NULL, 0 };
    for (size_t i = 0; i <= line; i++)
        at = slice_cut(text, '\n', &text);
    if (at.ptr && column < at.len && at.ptr[column] == '\t')
        return "a tab: YAML is indented with spaces only";
    if (context && strstr(context, "scanning an alias"))
        return "a value that begins with * needs quotes: \"*.example.com\"";
    return NULL;
}
