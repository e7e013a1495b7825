#include "app/config/preset_values.h"

#include <stdio.h>
#include <string.h>

#include "app/config/units.h"

struct preset_value preset_value_of(const char *word, const json_t *about)
{
    struct preset_value v = { .unless = NULL, .about = json_string_value(about) };
    size_t len = strcspn(word, "?");
    snprintf(v.key, sizeof v.key, "%.*s", (int)len, word);
    if (word[len])
        v.unless = word + len + 1;
    if (!v.about)
        v.about = "";
    return v;
}

/* ---- one value ---- */

static bool has_only(const char *text, const char *more)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    while (*text && (strchr(letters, *text) || strchr(more, *text)))
        text++;
    return !*text;
}

/* Where no rule has it as its host it may have a path: Keycloak stood under /auth before version 17. */
static const char *domain_wrong(const char *preset, const char *text)
{
    bool is_host = strstr(preset, "host: \"${domain}\"");
    size_t host = strcspn(text, ":/");
    if (strstr(text, "://") || strstr(text, "/realms") || !has_only(text, is_host ? ".-" : ".-:/_"))
        return "write only the host, without https:// and what follows the host";
    if (!host || (is_host && !memchr(text, '.', host)))
        return "write the whole name of the host, with its domain";
    return NULL;
}

const char *preset_value_wrong(const char *preset, const char *key, const char *text)
{
    static const struct {
        const char *key, *more, *wrong;
    } in_urls[] = {
        { "tenant", "._-", "write its id or its domain: letters, digits and . _ -" },
        { "realm", "._-%~", "write its name as it stands in URLs" },
        { "account", "._-@", "write letters, digits and . _ - @ only" },
    };
    if (!*text)
        return "it is empty";
    if (strcmp(key, "domain") == 0)
        return domain_wrong(preset, text);
    for (size_t i = 0; i < sizeof in_urls / sizeof *in_urls; i++)
        if (strcmp(key, in_urls[i].key) == 0 && !has_only(text, in_urls[i].more))
            return in_urls[i].wrong;
    return NULL;
}

/* ---- all values of a credential ---- */

/* What the user wrote instead of key, or NULL. */
static const char *slip_for(const json_t *credential, const char *key)
{
    const char *written, *best = NULL;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)credential, written, value)
    {
        units_nearer(key, written, &best);
    }
    return best;
}

static int report_missing(struct schema *s, const json_t *credential, const char *preset, const struct preset_value *v)
{
    const char *slip = slip_for(credential, v->key);
    if (slip)
        return schema_error_key(s, json_object_get(credential, slip),
                                "%s is missing: preset %s needs it (%s): did you mean %s by \"%.40s\"?", v->key, preset,
                                v->about, v->key, slip);
    return schema_error(s, credential, "%s is missing: preset %s needs it (%s)", v->key, preset, v->about);
}

/* ${key} stands inside a longer text: a reference to a secret cannot stand there. */
static bool is_in_text(const char *preset, const char *key)
{
    char hole[PRESET_KEY_MAX + 8];
    int len = snprintf(hole, sizeof hole, "${%s}", key);
    for (const char *at = strstr(preset, hole); at; at = strstr(at + 1, hole))
        if (at[len] != '"' || at[-1] != '"')
            return true;
    return false;
}

static int check_one(struct schema *s, const json_t *credential, const char *preset_name, const char *preset,
                     const struct preset_value *v)
{
    const json_t *value = json_object_get(credential, v->key);
    if (!value)
        return v->unless ? 0 : report_missing(s, credential, preset_name, v);
    if (!json_is_string(value) && is_in_text(preset, v->key))
        return schema_error(s, value, "%s: a text is needed here (%s)", v->key, v->about);
    const char *wrong = json_is_string(value) ? preset_value_wrong(preset, v->key, json_string_value(value)) : NULL;
    return wrong ? schema_error(s, value, "%s: %s (%s)", v->key, wrong, v->about) : 0;
}

int preset_values_check(struct schema *s, const json_t *credential, const char *name, const char *preset,
                        const json_t *values)
{
    const char *word;
    json_t *about;
    int failed = 0;
    json_object_foreach((json_t *)(uintptr_t)values, word, about)
    {
        const struct preset_value v = preset_value_of(word, about);
        failed |= check_one(s, credential, name, preset, &v);
    }
    return failed ? -1 : 0;
}
