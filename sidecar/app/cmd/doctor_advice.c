#include "app/cmd/doctor_advice.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static bool is_plain(const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:=,@%+";
    return *word && strspn(word, plain) == strlen(word);
}

/* Appends word as one word of sh(1). */
static size_t add_word(char *text, size_t len, const char *word)
{
    bool plain = is_plain(word);
    len += (size_t)snprintf(text + len, DOCTOR_FIX_MAX - len, plain ? " " : " '");
    for (; *word && len + 8 < DOCTOR_FIX_MAX; word++)
        len += (size_t)snprintf(text + len, DOCTOR_FIX_MAX - len, *word == '\'' ? "'\\''" : "%c", *word);
    if (!plain)
        len += (size_t)snprintf(text + len, DOCTOR_FIX_MAX - len, "'");
    return len;
}

/* "sidekey run -- " and the command, quoted for sh(1); without a command "PROGRAM". */
static void run_line(char *const *command, char ret[DOCTOR_FIX_MAX])
{
    size_t len = (size_t)snprintf(ret, DOCTOR_FIX_MAX, "sidekey run --%s", command ? "" : " PROGRAM");
    for (; command && *command && len + 16 < DOCTOR_FIX_MAX; command++)
        len = add_word(ret, len, *command);
}

/* The variable that makes the runtime trust us; false: it has none, or the variable says so already. */
static bool advise_trust(const struct doctor_finding *f, const struct doctor_place *p, char ret[DOCTOR_FIX_MAX])
{
    const struct doctor_runtime *r = f->runtime;
    char value[PATH_MAX + 64], file[PATH_MAX + 16];
    if (!r->ca)
        return false;
    snprintf(value, sizeof value, "%s", r->ca_value);
    char *at = strstr(value, "%s");
    snprintf(value + (at - value), sizeof value - (size_t)(at - value), "%s%s", p->ca_dir,
             r->ca_value + (at - value) + 2);
    const char *now = getenv(r->ca);
    if (now && strstr(now, value))
        return false;
    snprintf(file, sizeof file, "%s/bundle.jks", p->ca_dir);
    if (strstr(value, ".jks") && access(file, R_OK) != 0)
        snprintf(ret, DOCTOR_FIX_MAX,
                 "keytool -importcert -noprompt -cacerts -storepass changeit -alias sidekey -file %s/ca.pem",
                 p->ca_dir);
    else
        snprintf(ret, DOCTOR_FIX_MAX, "export %s=%s", r->ca, value);
    return true;
}

static bool any_is_set(const char *const *names)
{
    for (; names && *names; names++) {
        const char *value = getenv(*names);
        if (value && *value)
            return true;
    }
    return false;
}

static bool advise_way(const struct doctor_finding *f, const struct doctor_place *p, char ret[DOCTOR_FIX_MAX])
{
    const char *const *names = f->runtime->proxy;
    if (!names)
        return false;
    if (!any_is_set(names))
        snprintf(ret, DOCTOR_FIX_MAX, "export %s=%s", names[0], p->url);
    else if (f->wish[0])
        snprintf(ret, DOCTOR_FIX_MAX, "export %s", f->wish);
    else if (p->note_count)
        ret[0] = '\0'; /* a note says it */
    else
        return false;
    return true;
}

void doctor_advice_fix(const struct doctor_finding *f, const struct doctor_place *p, char *const *command,
                       char ret[DOCTOR_FIX_MAX])
{
    ret[0] = '\0';
    if (f->state == DOCTOR_NO_TRUST && advise_trust(f, p, ret))
        return;
    if (f->state == DOCTOR_NO_ARRIVAL && advise_way(f, p, ret))
        return;
    if (f->state == DOCTOR_NO_TRUST || f->state == DOCTOR_NO_ARRIVAL)
        run_line(command, ret);
}
