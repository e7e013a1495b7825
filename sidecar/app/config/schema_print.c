/* The JSON Schema of a table. */
#include "app/config/schema.h"
#include "base/json_safe.h"

#include <errno.h>
#include <stdlib.h>

#define SECRET_SCHEMA                                                                                                  \
    "{\"type\":\"object\",\"description\":\"Where sidekey reads the secret.\",\"additionalProperties\":false,"         \
    "\"minProperties\":1,\"maxProperties\":1,\"properties\":{"                                                         \
    "\"file\":{\"type\":\"string\",\"description\":\"A file; one newline at its end is dropped.\"},"                   \
    "\"env\":{\"type\":\"string\",\"description\":\"An environment variable.\"},"                                      \
    "\"command\":{\"type\":\"array\",\"items\":{\"type\":\"string\"},\"minItems\":1,"                                  \
    "\"description\":\"A program and its arguments, run without a shell; its output is the secret.\"}}}"

static json_t *object_of(const struct table *t);

static json_t *typed(const char *type, const char *pattern)
{
    json_t *node = json_pack("{s:s}", "type", type);
    if (node && pattern)
        json_object_set_new(node, "pattern", json_string(pattern));
    return node;
}

static json_t *number(const struct field *f)
{
    json_t *node = typed("integer", NULL);
    bool port = f->type == FIELD_PORT;
    json_object_set_new(node, "minimum", json_integer(port ? 1 : (json_int_t)f->min));
    json_int_t most = f->max ? (json_int_t)f->max : UINT32_MAX;
    json_object_set_new(node, "maximum", json_integer(port ? UINT16_MAX : most));
    return node;
}

static json_t *words(const struct field *f)
{
    json_t *list = json_array();
    for (size_t i = 0; f->words[i]; i++)
        json_array_append_new(list, json_string(f->words[i]));
    return json_pack("{s:o}", "enum", list);
}

static json_t *property_of(const struct field *f);

static json_t *map_of(const struct field *f)
{
    json_t *map = json_pack("{s:s,s:o}", "type", "object", "additionalProperties", object_of(f->table));
    json_t *beside = f->beside ? json_object() : NULL;
    for (const struct field *b = f->beside; b && b->key; b++)
        json_object_set_new(beside, b->key, property_of(b));
    if (beside)
        json_object_set_new(map, "properties", beside);
    return map;
}

static json_t *type_of(const struct field *f)
{
    switch (f->type) {
    case FIELD_STRING: return typed("string", NULL);
    case FIELD_BOOL: return typed("boolean", NULL);
    case FIELD_UINT:
    case FIELD_PORT: return number(f);
    case FIELD_DURATION: return typed("string", "^([0-9]+(ms|s|m|h)|0)$");
    case FIELD_SIZE: return typed("string", "^([0-9]+(B|KiB|MiB|GiB)|0)$");
    case FIELD_ENUM: return words(f);
    case FIELD_ADDRESS: return typed("string", NULL);
    case FIELD_STRINGS: return json_pack("{s:s,s:{s:s}}", "type", "array", "items", "type", "string");
    case FIELD_PAIRS: return json_pack("{s:s,s:{s:s}}", "type", "object", "additionalProperties", "type", "string");
    case FIELD_SECRET: return json_pack("{s:s}", "$ref", "#/$defs/secret");
    case FIELD_OBJECT: return object_of(f->table);
    case FIELD_LIST: return json_pack("{s:s,s:o}", "type", "array", "items", object_of(f->table));
    case FIELD_MAP: return map_of(f);
    case FIELD_CUSTOM: return json_safe_load(slice_str(f->json), 0, NULL);
    case FIELD_LATER: break;
    }
    return typed("null", NULL);
}

static json_t *initial_of(const struct field *f)
{
    switch (f->type) {
    case FIELD_BOOL: return json_boolean(*f->initial == 't');
    case FIELD_UINT:
    case FIELD_PORT: return json_integer(strtoll(f->initial, NULL, 10));
    default: return json_string(f->initial);
    }
}

static json_t *property_of(const struct field *f)
{
    json_t *node = type_of(f);
    if (f->about && f->type != FIELD_LATER)
        json_object_set_new(node, "description", json_string(f->about));
    if (f->initial)
        json_object_set_new(node, "default", initial_of(f));
    return node;
}

static json_t *object_of(const struct table *t)
{
    json_t *properties = json_object(), *required = json_array();
    for (const struct field *f = t->fields; f->key; f++) {
        json_t *node = property_of(f);
        if (f->type != FIELD_LATER)
            json_object_set_new(properties, f->key, node);
        else
            json_decref(node);
        if (f->flags & FIELD_REQUIRED)
            json_array_append_new(required, json_string(f->key));
    }
    json_t *object = json_pack("{s:s,s:b,s:o}", "type", "object", "additionalProperties", 0, "properties", properties);
    if (json_array_size(required) > 0)
        json_object_set(object, "required", required);
    json_decref(required);
    return object;
}

int schema_print(const struct table *t, const char *title, struct buf *out)
{
    json_t *root = json_pack("{s:s,s:s}", "$schema", "https://json-schema.org/draft/2020-12/schema", "title", title);
    json_t *keys = object_of(t);
    if (!root || !keys || json_object_update(root, keys) != 0
        || json_object_set_new(root, "$defs",
                               json_pack("{s:o}", "secret", json_safe_load(slice_str(SECRET_SCHEMA), 0, NULL)))
               != 0) {
        json_decref(root);
        json_decref(keys);
        return -ENOMEM;
    }
    char *text = json_dumps(root, JSON_INDENT(2));
    json_decref(root);
    json_decref(keys);
    int failed = text ? buf_add_str(out, text) : -ENOMEM;
    free(text);
    return failed ? failed : buf_add_str(out, "\n");
}
