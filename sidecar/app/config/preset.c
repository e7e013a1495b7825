#include "app/config/preset.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/embedded.h"
#include "app/config/units.h"

const char *const preset_values[] = { "key",      "certificate",  "tenant",          "domain",      "realm", "account",
                                      "provider", "organization", "federation_rule", "login_scope", NULL };

static bool name_of(const char *file, char name[PRESET_KEY_MAX])
{
    size_t len = strlen(file) - strlen(".yaml");
    return snprintf(name, PRESET_KEY_MAX, "%.*s", (int)len, file) < PRESET_KEY_MAX;
}

const char *preset_text(const char *name, const char **ret_nearest)
{
    static char names[64][PRESET_KEY_MAX]; /* candidates stay where they are */
    const char *best = NULL;
    for (size_t i = 0; i < sizeof names / sizeof *names && preset_files[i].name; i++) {
        if (!name_of(preset_files[i].name, names[i]))
            continue;
        if (strcmp(names[i], name) == 0)
            return preset_files[i].text;
        units_nearer(name, names[i], &best);
    }
    if (ret_nearest)
        *ret_nearest = best;
    return NULL;
}

void preset_each(void (*fn)(void *arg, const char *name, const char *about, const char *text), void *arg)
{
    for (const struct embedded_file *f = preset_files; f->name; f++) {
        char name[PRESET_KEY_MAX], about[256] = "";
        const char *line = strstr(f->text, "about: ");
        if (line)
            snprintf(about, sizeof about, "%.*s", (int)strcspn(line + 7, "\n"), line + 7);
        if (name_of(f->name, name))
            fn(arg, name, about, f->text);
    }
}

int preset_each_value(const char *preset, int (*fn)(void *arg, const struct preset_value *value), void *arg)
{
    struct err e;
    const char *text = preset_text(preset, NULL), *word;
    struct tree *y = text ? tree_parse(slice_str(text), &e) : NULL;
    json_t *about;
    int result = y ? 0 : -1;
    json_object_foreach(y ? json_object_get(tree_root(y), "values") : NULL, word, about)
    {
        const struct preset_value value = preset_value_of(word, about);
        if ((result = fn(arg, &value)) != 0)
            break;
    }
    tree_free(y);
    return result;
}

bool preset_has_rules(const char *preset)
{
    const char *text = preset_text(preset, NULL);
    return text && strstr(text, "\nrules:");
}

int preset_read_value(struct schema *s, const struct field *f, const json_t *node, void *spec)
{
    (void)spec;
    return schema_error_key(s, node, "%s is a value for a preset, and %s", f->key,
                            "this credential has none, or one that does not take it: sidekey presets show NAME");
}
