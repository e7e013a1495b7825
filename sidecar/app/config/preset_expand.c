#include "app/config/preset_expand.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/config/preset.h"
#include "app/config/preset_hint.h"

/* One preset on its way into one credential. */
struct expansion {
    struct schema *s;
    struct tree *to;
    const struct tree *from;   /* the preset */
    const json_t *node;        /* the credential, as the user wrote it */
    const char *name, *preset; /* of the credential; of the preset */
    const char *text;          /* of the preset */
    struct tree_mark at;       /* where `preset: NAME` stands: what comes from it has that place */
};

static json_t *copy(const struct expansion *x, const json_t *node);

static json_t *placed(const struct expansion *x, json_t *node, bool plain)
{
    struct tree_mark mark = x->at;
    mark.plain = plain;
    if (node && tree_place(x->to, node, mark) == 0)
        return node;
    json_decref(node);
    return NULL;
}

/* The user's value of ${name}, or NULL. */
static json_t *value_of(const struct expansion *x, const char *name, size_t len)
{
    char key[PRESET_KEY_MAX];
    snprintf(key, sizeof key, "%.*s", (int)len, name);
    return json_object_get(x->node, key);
}

/* Text with each ${name} replaced.  NULL: out of memory, or a value that is not text. */
static char *fill_in(const struct expansion *x, const char *text)
{
    char *out = NULL;
    size_t size = 0;
    bool failed = false;
    FILE *f = open_memstream(&out, &size);
    if (!f)
        return NULL;
    for (const char *c = text; *c && !failed;) {
        size_t len = strncmp(c, "${", 2) == 0 ? strcspn(c + 2, "}") : 0;
        const char *value = len ? json_string_value(value_of(x, c + 2, len)) : NULL;
        if (len && !value)
            failed = true;
        else if (len)
            failed = fputs(value, f) == EOF;
        else
            failed = fputc(*c, f) == EOF;
        c += len ? len + 3 : 1;
    }
    if (fclose(f) == 0 && !failed)
        return out;
    free(out);
    return NULL;
}

/* "${key}" alone is the user's own node: it may be a reference to a secret. */
static json_t *copy_text(const struct expansion *x, const json_t *node)
{
    const char *text = json_string_value(node);
    size_t len = strlen(text);
    if (len > 3 && strncmp(text, "${", 2) == 0 && strcspn(text, "}") == len - 1)
        return json_incref(value_of(x, text + 2, len - 3));
    char *filled = fill_in(x, text);
    json_t *made = filled ? placed(x, json_string(filled), tree_mark(x->from, node).plain) : NULL;
    free(filled);
    return made;
}

static json_t *copy_list(const struct expansion *x, const json_t *node)
{
    json_t *list = placed(x, json_array(), false);
    for (size_t i = 0; list && i < json_array_size(node); i++)
        if (json_array_append_new(list, copy(x, json_array_get(node, i))) != 0) {
            json_decref(list);
            return NULL;
        }
    return list;
}

/* A member whose whole value is a value that the user may leave out, and did, is left out. */
static bool left_out(const struct expansion *x, const json_t *node)
{
    const char *text = json_string_value(node);
    size_t len = text ? strlen(text) : 0;
    return len > 3 && strncmp(text, "${", 2) == 0 && strcspn(text, "}") == len - 1 && !value_of(x, text + 2, len - 3);
}

/* Adds to the object what it does not have; objects that both have are merged in the same way. */
static int merge(const struct expansion *x, json_t *object, const json_t *more)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)more, key, value)
    {
        json_t *own = json_object_get(object, key);
        int failed = 0;
        if (own && json_is_object(own) && json_is_object(value))
            failed = merge(x, own, value);
        else if (!own && !left_out(x, value))
            failed = json_object_set_new(object, key, copy(x, value));
        if (failed)
            return -1;
    }
    return 0;
}

static json_t *copy(const struct expansion *x, const json_t *node)
{
    if (json_is_string(node))
        return copy_text(x, node);
    if (json_is_array(node))
        return copy_list(x, node);
    json_t *object = placed(x, json_object(), false);
    if (object && merge(x, object, node) == 0)
        return object;
    json_decref(object);
    return NULL;
}

static bool is_value_of(const struct tree *preset, const char *key)
{
    const char *word;
    json_t *about;
    json_object_foreach(json_object_get(tree_root(preset), "values"), word, about)
    {
        if (strcmp(preset_value_of(word, about).key, key) == 0)
            return true;
    }
    return false;
}

/* No rule of the file speaks of the credential. */
static bool has_no_rule(const json_t *rules, const char *name)
{
    for (size_t i = 0; i < json_array_size(rules); i++) {
        const char *credential = json_string_value(json_object_get(json_array_get(rules, i), "credential"));
        if (credential && strcmp(credential, name) == 0)
            return false;
    }
    return true;
}

/* A preset's rules that answer token requests need a placeholder to answer with. */
static bool has_placeholder(const struct expansion *x)
{
    const char *placeholder = json_string_value(json_object_get(x->node, "placeholder"));
    return placeholder && strcmp(placeholder, "auto") == 0;
}

static int add_rules(const struct expansion *x)
{
    json_t *root = tree_edit(x->to), *rules = json_object_get(root, "rules");
    const json_t *own = json_object_get(tree_root(x->from), "rules");
    if (!own || !has_no_rule(rules, x->name))
        return 0;
    if (!rules && json_object_set_new(root, "rules", rules = placed(x, json_array(), false)) != 0)
        return -1;
    for (size_t i = 0; i < json_array_size(own); i++) {
        if (json_object_get(json_array_get(own, i), "answer") && !has_placeholder(x))
            continue;
        json_t *rule = copy(x, json_array_get(own, i));
        json_t *credential = placed(x, json_string(x->name), true);
        int failed = json_array_append_new(rules, rule);
        if (failed) {
            json_decref(credential);
            return -1;
        }
        if (json_object_set_new(rule, "credential", credential) != 0)
            return -1;
    }
    return 0;
}

static int fill_credential(const struct expansion *x, json_t *credential)
{
    if (preset_values_check(x->s, x->node, x->preset, x->text, json_object_get(tree_root(x->from), "values")) != 0)
        return -1;
    if (merge(x, credential, json_object_get(tree_root(x->from), "credential")) != 0 || add_rules(x) != 0)
        return schema_error(x->s, x->node, "preset %s: out of memory, or a value that is not text", x->preset);
    for (const char *const *key = preset_values; *key; key++)
        if (is_value_of(x->from, *key))
            json_object_del(credential, *key);
    return 0;
}

static int expand(struct schema *s, struct tree *y, const char *name, json_t *credential)
{
    const json_t *node = json_object_get(credential, "preset");
    const char *preset = json_string_value(node);
    struct err why;
    if (!preset)
        return 0; /* what is no text is the schema's business */
    const char *text = preset_text(preset, NULL);
    if (!text) {
        preset_hint(preset, &why);
        return schema_error(s, node, "%s", why.text);
    }
    struct tree *from = tree_parse(slice_str(text), &why);
    if (!from)
        return schema_error(s, node, "preset %s cannot be read: %s", preset, why.text);
    struct expansion x = { .s = s,
                           .to = y,
                           .from = from,
                           .node = credential,
                           .name = name,
                           .preset = preset,
                           .text = text,
                           .at = tree_mark(y, node) };
    int failed = fill_credential(&x, credential);
    tree_free(from);
    return failed;
}

int preset_expand(struct schema *s, struct tree *y)
{
    json_t *credentials = json_object_get(tree_edit(y), "credentials"), *credential;
    const char *name;
    int failed = 0;
    json_object_foreach(credentials, name, credential)
    {
        failed |= expand(s, y, name, credential);
    }
    return failed;
}
