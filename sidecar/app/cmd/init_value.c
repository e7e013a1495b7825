#include "app/cmd/init_value.h"

#include "app/config/config_values.h"
#include "refresh/fetch/fetch_url.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char env[] = "env:", too_long[] = "it is too long";

bool init_value_is_secret(const char *key)
{
    static const char *const keys[] = { "key", "certificate", "client_secret", "refresh_token" };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (strcmp(keys[i], key) == 0)
            return true;
    return false;
}

static bool starts(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

static bool looks_like_path(const char *text)
{
    return starts(text, "/") || starts(text, "./") || starts(text, "../") || starts(text, "~/");
}

static const char *put(char ret[INIT_VALUE_MAX], const char *first, const char *second)
{
    return snprintf(ret, INIT_VALUE_MAX, "%s%s", first, second) < INIT_VALUE_MAX ? NULL : too_long;
}

static const char *take_variable(const char *text, char ret[INIT_VALUE_MAX])
{
    const char *name = text + strlen(env), *c = name;
    while (isalnum((unsigned char)*c) || *c == '_')
        c++;
    if (c == name || *c || isdigit((unsigned char)*name))
        return "write env:NAME with the name of an environment variable";
    return put(ret, text, "");
}

static const char *take_path(const char *text, char ret[INIT_VALUE_MAX])
{
    char here[PATH_MAX + 1];
    const char *home = getenv("HOME");
    if (!looks_like_path(text) && access(text, F_OK) != 0)
        return "no such file here: write the path of the file that holds it (./NAME, when you make it later), or "
               "env:NAME, and not the secret itself";
    if (starts(text, "/"))
        return put(ret, text, "");
    if (starts(text, "~/"))
        return home ? put(ret, home, text + 1) : "HOME is not set: write the whole path";
    if (!getcwd(here, PATH_MAX))
        return "the working directory cannot be read: write the whole path";
    return put(ret, strcat(here, "/"), starts(text, "./") ? text + 2 : text);
}

/* As a person copies it from the browser. */
static const char *take_host(const char *text, char ret[INIT_VALUE_MAX])
{
    static const char scheme[] = "https://";
    const char *failed = put(ret, starts(text, scheme) ? text + strlen(scheme) : text, "");
    size_t len = failed ? 0 : strlen(ret);
    if (len && ret[len - 1] == '/')
        ret[len - 1] = '\0';
    return failed;
}

/* One that a rule takes. */
static const char *take_api(const char *text, char ret[INIT_VALUE_MAX])
{
    const char *failed = take_host(text, ret);
    char *copy = failed ? NULL : strdup(ret);
    if (!copy)
        return failed ? failed : "out of memory";
    failed = config_value_host(&copy);
    free(copy);
    return failed;
}

const char *init_value_url_wrong(const char *text)
{
    struct fetch_place place;
    return fetch_url_read(text, false, &place) == 0
               ? NULL
               : "write the whole URL, with https:// (http:// only on this machine)";
}

const char *init_value_take(const char *key, const char *text, char ret[INIT_VALUE_MAX])
{
    if (!*text)
        return "it is empty";
    if (init_value_is_secret(key))
        return starts(text, env) ? take_variable(text, ret) : take_path(text, ret);
    if (strcmp(key, "host") == 0)
        return take_api(text, ret);
    if (strcmp(key, "domain") == 0)
        return take_host(text, ret);
    return put(ret, text, "");
}
