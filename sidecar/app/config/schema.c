#include "app/config/schema.h"

#include "app/config/scalar.h"
#include "app/config/slips.h"
#include "app/config/units.h"
#include "base/secret_ref.h"
#include "base/trusted_file.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define CERTIFICATES_MAX_BYTES (16 * 1024 * 1024)

struct pair {
    char *name, *value;
};

/* Enters a part of the path; the caller leaves it with the mark. */
static size_t enter(struct schema *s, const char *key)
{
    size_t mark = strlen(s->path);
    snprintf(s->path + mark, sizeof s->path - mark, "%s%.64s", mark ? "." : "", key);
    return mark;
}

static size_t enter_item(struct schema *s, size_t index)
{
    size_t mark = strlen(s->path);
    snprintf(s->path + mark, sizeof s->path - mark, "[%zu]", index);
    return mark;
}

static void leave(struct schema *s, size_t mark)
{
    s->path[mark] = '\0';
}

static void report(struct schema *s, bool warning, unsigned line, unsigned column, const char *format, va_list args)
{
    char what[400];
    struct err text;
    vsnprintf(what, sizeof what, format, args);
    const char *colon = *s->path ? ": " : "";
    if (s->foreign)
        err_set(&text, "%s: %s%s%s", s->foreign, s->path, colon, what);
    else if (line)
        err_set(&text, "%s:%u:%u: %s%s%s", s->file, line, column, s->path, colon, what);
    else
        err_set(&text, "%s: %s%s%s", s->file, s->path, colon, what);
    if (s->report)
        s->report(s->report_arg, warning, text.text);
    if (!warning && s->errors++ == 0 && s->e)
        *s->e = text;
}

int schema_error(struct schema *s, const json_t *node, const char *format, ...)
{
    struct tree_mark mark = tree_mark(s->tree, node);
    va_list args;
    va_start(args, format);
    report(s, false, mark.line, mark.column, format, args);
    va_end(args);
    return -1;
}

int schema_error_key(struct schema *s, const json_t *node, const char *format, ...)
{
    struct tree_mark mark = tree_mark(s->tree, node);
    va_list args;
    va_start(args, format);
    report(s, false, mark.key_line, mark.key_column, format, args);
    va_end(args);
    return -1;
}

void schema_warn(struct schema *s, const json_t *node, const char *format, ...)
{
    struct tree_mark mark = tree_mark(s->tree, node);
    va_list args;
    va_start(args, format);
    report(s, true, mark.line, mark.column, format, args);
    va_end(args);
}

const char *schema_text(struct schema *s, const json_t *node)
{
    if (json_is_string(node) && !tree_is_null(s->tree, node))
        return json_string_value(node);
    schema_error(s, node,
                 json_is_string(node) ? "a value is missing"
                                      : "a single value is needed here, not a list or an object");
    return NULL;
}

static bool has_type(struct schema *s, const json_t *node, json_type type)
{
    if (json_typeof(node) == type)
        return true;
    const char *is = json_is_array(node) ? "a list" : "an object";
    schema_error(s, node, "needs %s, but this is %s", type == JSON_ARRAY ? "a list" : "keys and values (an object)",
                 json_is_string(node) ? "a single value" : is);
    return false;
}

static const struct field *field_named(const struct table *t, const char *key)
{
    for (const struct field *f = t->fields; f->key; f++)
        if (strcmp(f->key, key) == 0)
            return f;
    return NULL;
}

/* The most helpful thing to say about a key that the table does not have. */
static void unknown_key(struct schema *s, const struct table *t, const char *key, const json_t *value)
{
    const char *best = NULL;
    for (const struct field *f = t->fields; f->key; f++)
        if (f->table && f->type == FIELD_OBJECT && field_named(f->table, key)) {
            schema_error_key(s, value, "unknown key \"%.64s\": it belongs under \"%s\"", key, f->key);
            return;
        }
    for (const struct field *f = t->fields; f->key; f++)
        if (f->type != FIELD_LATER)
            units_nearer(key, f->key, &best);
    if (best)
        schema_error_key(s, value, "unknown key \"%.64s\": did you mean \"%s\"?", key, best);
    else
        schema_error_key(s, value, "unknown key \"%.64s\"", key);
}

static int check_keys(struct schema *s, const struct table *t, const json_t *node)
{
    const char *key;
    json_t *value;
    unsigned before = s->errors;
    json_object_foreach((json_t *)(uintptr_t)node, key, value)
    {
        if (!field_named(t, key))
            unknown_key(s, t, key, value);
    }
    return s->errors == before ? 0 : -1;
}

/* A certificate or key decides whom we trust and who we are: no other user may be able to write the file. */
static int check_trust(struct schema *s, const json_t *node, const char *path, bool key)
{
    struct err e;
    int failed = trusted_file_check(path, key ? SECRET_REF_MAX_BYTES : CERTIFICATES_MAX_BYTES, &e);
    s->untrusted = s->untrusted || failed == -EPERM;
    return failed ? schema_error(s, node, "%s", e.text) : 0;
}

/* A missing file may appear later. A file that another user can write is an error now. */
static int check_trust_of_secret(struct schema *s, const json_t *node, const char *path)
{
    config_seen_file(&s->seen, path);
    return trusted_file_check(path, SECRET_REF_MAX_BYTES, NULL) == -EPERM ? check_trust(s, node, path, true) : 0;
}

/* A file that a value names. */
static int check_file(struct schema *s, const json_t *node, const char *path, bool key)
{
    struct stat st;
    config_seen_file(&s->seen, path);
    if (stat(path, &st) != 0)
        return schema_error(s, node, "%.200s: %s: create the file, or correct the path", path, strerror(errno));
    if (S_ISDIR(st.st_mode))
        return schema_error(s, node, "%.200s is a directory: name a file", path);
    if (access(path, R_OK) != 0)
        return schema_error(s, node, "%.200s cannot be read by uid %u: %s", path, (unsigned)geteuid(), strerror(errno));
    if (check_trust(s, node, path, key) != 0)
        return -1;
    if (key && st.st_mode & (S_IROTH | S_IWOTH))
        schema_warn(s, node, "%.200s can be read or written by every user (mode %04o): %s", path,
                    (unsigned)st.st_mode & 07777, slips_mode(path));
    return 0;
}

static int read_scalar(struct schema *s, const struct field *f, const json_t *node, void *base)
{
    struct err e;
    const char *text = schema_text(s, node);
    const char *slip = text ? slips_text(text) : NULL;
    if (!text)
        return -1;
    if (slip)
        return schema_error(s, node, "%s", slip);
    if (scalar_read(f, text, tree_mark(s->tree, node).plain, base, &e) != 0)
        return schema_error(s, node, "%s", e.text);
    return f->flags & FIELD_FILE && s->files != SCHEMA_FILES_NONE ? check_file(s, node, text, f->flags & FIELD_KEY) : 0;
}

static int read_strings(struct schema *s, const struct field *f, const json_t *node, void *base)
{
    if (!has_type(s, node, JSON_ARRAY))
        return -1;
    size_t count = json_array_size(node);
    char **list = calloc(count + 1, sizeof *list);
    *(char ***)((char *)base + f->at) = list;
    if (!list)
        return schema_error(s, node, "out of memory");
    int failed = 0;
    struct field item = { .key = f->key, .type = FIELD_STRING, .flags = f->flags & FIELD_FILE, .check = f->check };
    for (size_t i = 0; i < count; i++) {
        item.at = i * sizeof *list;
        failed |= read_scalar(s, &item, json_array_get(node, i), list);
        if (!list[i]) /* keeps the list one piece, so that its owner can free it */
            list[i] = strdup("");
    }
    return failed;
}

static bool has_control(const char *text)
{
    for (; *text; text++)
        if (((unsigned char)*text < ' ' && *text != '\t') || *text == 0x7f)
            return true;
    return false;
}

static int read_pairs(struct schema *s, const struct field *f, const json_t *node, void *base)
{
    if (!has_type(s, node, JSON_OBJECT))
        return -1;
    struct pair *list = calloc(json_object_size(node) + 1, sizeof *list);
    *(struct pair **)((char *)base + f->at) = list;
    if (!list)
        return schema_error(s, node, "out of memory");
    size_t *count = (size_t *)(void *)((char *)base + f->count_at);
    int failed = 0;
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)node, key, value)
    {
        struct pair *p = &list[(*count)++];
        const char *text = schema_text(s, value);
        p->name = strdup(key);
        p->value = text ? strdup(text) : NULL;
        const char *wrong;
        if (!p->name || (text && !p->value))
            wrong = "out of memory";
        else if (f->check)
            wrong = f->check(&p->name);
        else
            wrong = NULL;
        if (wrong)
            schema_error_key(s, value, "\"%.64s\": %s", key, wrong);
        else if (text && has_control(text))
            wrong = schema_error(s, value, "control bytes (CR, LF and the like) are not allowed") ? "" : NULL;
        failed |= wrong || !text ? -1 : 0;
    }
    return failed;
}

static int read_command(struct schema *s, const json_t *node, struct secret_ref *ref)
{
    static const struct field argv = { .key = "command",
                                       .type = FIELD_STRINGS,
                                       .at = offsetof(struct secret_ref, argv) };
    ref->kind = SECRET_REF_COMMAND;
    s->seen.unknown = true;
    if (read_strings(s, &argv, node, ref) != 0)
        return -1;
    return ref->argv[0] ? 0 : schema_error(s, node, "is empty: write [program, argument, …]");
}

static int read_reference(struct schema *s, const json_t *node, struct secret_ref *ref)
{
    static const struct field words[] = { { .key = "file" }, { .key = "env" }, { .key = "command" }, { .key = NULL } };
    static const struct table keys = { .fields = words };
    void *only = json_object_iter((json_t *)(uintptr_t)node);
    if (check_keys(s, &keys, node) != 0)
        return -1;
    if (json_object_size(node) != 1)
        return schema_error(s, node, "needs exactly one of file, env and command");
    const json_t *value = json_object_iter_value(only);
    const char *key = json_object_iter_key(only);
    if (strcmp(key, "command") == 0)
        return read_command(s, value, ref);
    const char *text = schema_text(s, value);
    if (!text)
        return -1;
    if (!*text || !(ref->name = strdup(text)))
        return schema_error(s, value, *text ? "out of memory" : "is empty");
    ref->kind = strcmp(key, "file") == 0 ? SECRET_REF_FILE : SECRET_REF_ENV;
    if (s->files == SCHEMA_FILES_NEEDED && ref->kind == SECRET_REF_FILE)
        return check_trust_of_secret(s, value, text);
    if (s->files != SCHEMA_FILES_ALL)
        return 0;
    if (ref->kind == SECRET_REF_FILE)
        return check_file(s, value, text, true);
    if (!getenv(text))
        schema_warn(s, value, "the environment variable %.100s is not set here", text);
    return 0;
}

int schema_secret(struct schema *s, const json_t *node, struct secret_ref *ref)
{
    if (json_is_object(node))
        return read_reference(s, node, ref);
    if (!json_is_string(node) || !s->allow_inline) /* its text is not repeated: it may be the secret */
        return schema_error(s, node, "a secret must not be written in this file: write {file: PATH} or {env: NAME}");
    const char *text = schema_text(s, node);
    if (!text)
        return -1;
    if (!*text || !(ref->name = strdup(text)))
        return schema_error(s, node, *text ? "out of memory" : "is empty");
    ref->kind = SECRET_REF_INLINE;
    return 0;
}

/* Makes room for n elements and says where they are; NULL (reported) without memory. */
static char *elements(struct schema *s, const struct field *f, const json_t *node, size_t n, void *base,
                      size_t **ret_count)
{
    char *list = calloc(n ? n : 1, f->table->size);
    *(void **)((char *)base + f->at) = list;
    *ret_count = (size_t *)(void *)((char *)base + f->count_at);
    if (!list)
        schema_error(s, node, "out of memory");
    return list;
}

static int read_element(struct schema *s, const struct table *t, const json_t *node, void *element)
{
    if (!has_type(s, node, JSON_OBJECT))
        return -1;
    return schema_read(s, t, node, element);
}

static int read_list(struct schema *s, const struct field *f, const json_t *node, void *base)
{
    size_t *count, mark;
    if (!has_type(s, node, JSON_ARRAY))
        return -1;
    char *list = elements(s, f, node, json_array_size(node), base, &count);
    int failed = list ? 0 : -1;
    for (size_t i = 0; list && i < json_array_size(node); i++) {
        void *element = list + i * f->table->size;
        if (f->table->init)
            f->table->init(element);
        *count = i + 1;
        mark = enter_item(s, i);
        failed |= read_element(s, f->table, json_array_get(node, i), element);
        leave(s, mark);
    }
    return failed;
}

static int read_value(struct schema *s, const struct field *f, const json_t *node, void *base);

static const struct field *find_beside(const struct field *f, const char *key)
{
    for (const struct field *b = f->beside; b && b->key; b++)
        if (strcmp(b->key, key) == 0)
            return b;
    return NULL;
}

static int read_named(struct schema *s, const struct field *f, const char *key, const json_t *value, char *list,
                      size_t *count)
{
    void *element = list + *count * f->table->size;
    char **name = (char **)(void *)((char *)element + f->table->name_at);
    if (f->table->init)
        f->table->init(element);
    if (!(*name = strdup(key))) /* no element is ever without its name */
        return schema_error_key(s, value, "out of memory");
    ++*count;
    const char *wrong = f->check ? f->check(name) : NULL;
    int failed = wrong ? schema_error_key(s, value, "%s", wrong) : 0;
    return read_element(s, f->table, value, element) | failed;
}

static int read_map(struct schema *s, const struct field *f, const json_t *node, void *base)
{
    size_t *count;
    if (!has_type(s, node, JSON_OBJECT))
        return -1;
    char *list = elements(s, f, node, json_object_size(node), base, &count);
    int failed = list ? 0 : -1;
    const char *key;
    json_t *value;
    if (failed)
        return failed;
    json_object_foreach((json_t *)(uintptr_t)node, key, value)
    {
        const struct field *beside = find_beside(f, key);
        size_t mark = enter(s, key);
        failed |= beside ? read_value(s, beside, value, base) : read_named(s, f, key, value, list, count);
        leave(s, mark);
    }
    return failed;
}

static int read_value(struct schema *s, const struct field *f, const json_t *node, void *base)
{
    switch (f->type) {
    case FIELD_STRINGS: return read_strings(s, f, node, base);
    case FIELD_PAIRS: return read_pairs(s, f, node, base);
    case FIELD_SECRET: return schema_secret(s, node, (struct secret_ref *)(void *)((char *)base + f->at));
    case FIELD_OBJECT: return read_element(s, f->table, node, base);
    case FIELD_LIST: return read_list(s, f, node, base);
    case FIELD_MAP: return read_map(s, f, node, base);
    case FIELD_CUSTOM: return f->read(s, f, node, base);
    case FIELD_LATER: return schema_error_key(s, node, "not supported in this version (0.1): %s", f->about);
    default: return read_scalar(s, f, node, base);
    }
}

/* The --set value for the path at hand, or NULL. */
static const char *from_flags(struct schema *s)
{
    size_t len = strlen(s->path);
    const char *found = NULL;
    for (size_t i = 0; s->set && s->set[i] && i < 64; i++)
        if (strncmp(s->set[i], s->path, len) == 0 && s->set[i][len] == '=') {
            found = s->set[i] + len + 1;
            s->set_used |= UINT64_C(1) << i;
        }
    return found;
}

/* SIDEKEY_LISTEN_PROXY for listen.proxy. */
static const char *from_env(const char *path, char *name, size_t size)
{
    snprintf(name, size, "SIDEKEY_%s", path);
    for (char *c = name; *c; c++)
        if (*c == '.')
            *c = '_';
        else if (*c >= 'a' && *c <= 'z')
            *c = (char)(*c - 'a' + 'A');
    return getenv(name);
}

/* Flag, else variable.  0: none; 1: taken; -1: wrong. */
static int read_override(struct schema *s, const struct field *f, void *base)
{
    char name[sizeof "SIDEKEY_" + sizeof s->path];
    struct err e;
    const char *text = from_flags(s);
    s->foreign = "--set";
    if (!text) {
        text = from_env(s->path, name, sizeof name);
        s->foreign = name;
    }
    int result;
    if (!text)
        result = 0;
    else if (scalar_read(f, text, true, base, &e) != 0)
        result = schema_error(s, NULL, "%s", e.text);
    else
        result = 1;
    s->foreign = NULL;
    return result;
}

static int read_default(struct schema *s, const struct field *f, void *base)
{
    struct err e;
    if (f->type == FIELD_OBJECT)
        return schema_read(s, f->table, NULL, base);
    if (f->initial && scalar_is(f->type) && scalar_read(f, f->initial, true, base, &e) != 0)
        return schema_error(s, NULL, "default: %s", e.text);
    return 0;
}

static int read_field(struct schema *s, const struct field *f, const json_t *parent, void *base)
{
    const json_t *node = parent ? json_object_get(parent, f->key) : NULL;
    if (tree_is_null(s->tree, node))
        node = NULL;
    if (!node && parent && f->flags & FIELD_REQUIRED) /* of an object that is there at all */
        return schema_error(s, parent, "is missing");
    int taken = f->flags & FIELD_ENV ? read_override(s, f, base) : 0;
    if (taken)
        return taken < 0 ? -1 : 0;
    return node ? read_value(s, f, node, base) : read_default(s, f, base);
}

int schema_read(struct schema *s, const struct table *t, const json_t *node, void *base)
{
    int failed = node ? check_keys(s, t, node) : 0;
    for (const struct field *f = t->fields; f->key; f++) {
        size_t mark = enter(s, f->key);
        failed |= read_field(s, f, node, base);
        leave(s, mark);
    }
    if (!failed && t->check)
        failed = t->check(s, node, base);
    return failed ? -1 : 0;
}
