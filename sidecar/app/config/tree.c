#include "app/config/tree.h"

#include "app/config/slips.h"
#include "base/hash.h"

#include <errno.h>
#include <stdlib.h>
#include <yaml.h>

struct tree {
    json_t *root;
    struct hash *index; /* the node's address → 1 + its place in marks */
    struct tree_mark *marks;
    size_t count, space;
};

struct reader {
    yaml_parser_t parser;
    struct tree *tree;
    struct slice text;
    struct err *e;
    unsigned depth;
};

static json_t *read_node(struct reader *r, const yaml_event_t *event);

static int complain(struct reader *r, yaml_mark_t at, const char *what)
{
    return err_set(r->e, "%zu:%zu: %s", at.line + 1, at.column + 1, what);
}

/* The next event; the caller deletes it.  0; -1 with r->e. */
static int next(struct reader *r, yaml_event_t *ret)
{
    if (yaml_parser_parse(&r->parser, ret))
        return 0;
    const yaml_parser_t *p = &r->parser;
    if (p->error == YAML_READER_ERROR) /* the byte is known, but no line */
        return err_set(r->e, "%zu:%zu: %s (byte %zu of the file)", p->mark.line + 1, p->mark.column + 1, p->problem,
                       p->problem_offset + 1);
    if (p->error == YAML_MEMORY_ERROR)
        return err_set(r->e, "1:1: out of memory");
    const char *slip = slips_yaml(r->text, p->problem_mark.line, p->problem_mark.column, p->context);
    if (slip)
        return complain(r, p->problem_mark, slip);
    return err_set(r->e, "%zu:%zu: %s%s%s", p->problem_mark.line + 1, p->problem_mark.column + 1,
                   p->problem ? p->problem : "not YAML", p->context ? ", " : "", p->context ? p->context : "");
}

static struct slice key_of(const json_t *const *node)
{
    return slice_of(node, sizeof *node);
}

static struct tree_mark *mark_at(const struct tree *y, const json_t *node)
{
    uintptr_t place = node ? (uintptr_t)hash_get(y->index, key_of(&node)) : 0;
    return place ? &y->marks[place - 1] : NULL;
}

int tree_place(struct tree *y, const json_t *node, struct tree_mark mark)
{
    if (y->count == y->space) {
        size_t space = y->space ? 2 * y->space : 64;
        struct tree_mark *marks = realloc(y->marks, space * sizeof *marks);
        if (!marks)
            return -ENOMEM;
        y->marks = marks;
        y->space = space;
    }
    if (hash_put(y->index, key_of(&node), (void *)(uintptr_t)(y->count + 1)) != 0)
        return -ENOMEM;
    y->marks[y->count++] = mark;
    return 0;
}

/* Remembers where the node stood; gives it up when there is no memory for that. */
static json_t *remember(struct reader *r, json_t *node, const yaml_event_t *event)
{
    struct tree_mark mark = {
        .line = (unsigned)event->start_mark.line + 1,
        .column = (unsigned)event->start_mark.column + 1,
        .plain = event->type == YAML_SCALAR_EVENT && event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE,
    };
    if (node && tree_place(r->tree, node, mark) == 0)
        return node;
    json_decref(node);
    complain(r, event->start_mark, "out of memory");
    return NULL;
}

static json_t *read_scalar(struct reader *r, const yaml_event_t *event)
{
    const char *text = (const char *)event->data.scalar.value;
    size_t len = event->data.scalar.length;
    if (memchr(text, '\0', len)) {
        complain(r, event->start_mark, "a value must not contain a NUL byte");
        return NULL;
    }
    return remember(r, json_stringn(text, len), event);
}

static json_t *read_sequence(struct reader *r, const yaml_event_t *start)
{
    json_t *list = remember(r, json_array(), start);
    while (list) {
        yaml_event_t event;
        if (next(r, &event) != 0)
            break;
        bool end = event.type == YAML_SEQUENCE_END_EVENT;
        json_t *item = end ? NULL : read_node(r, &event);
        yaml_event_delete(&event);
        if (end)
            return list;
        if (!item)
            break;
        if (json_array_append_new(list, item) != 0) {
            complain(r, start->start_mark, "out of memory");
            break;
        }
    }
    json_decref(list);
    return NULL;
}

static int check_key(struct reader *r, const json_t *object, const yaml_event_t *key)
{
    if (key->type != YAML_SCALAR_EVENT || key->data.scalar.anchor || key->data.scalar.tag)
        return complain(r, key->start_mark, "a key must be a plain word");
    const char *text = (const char *)key->data.scalar.value;
    if (memchr(text, '\0', key->data.scalar.length))
        return complain(r, key->start_mark, "a key must not contain a NUL byte");
    const struct tree_mark *first = mark_at(r->tree, json_object_get(object, text));
    if (first)
        return err_set(r->e, "%zu:%zu: key \"%.100s\" is given twice (first in line %u)", key->start_mark.line + 1,
                       key->start_mark.column + 1, text, first->key_line);
    return 0;
}

/* Reads the value that belongs to key into object. */
static int read_member(struct reader *r, json_t *object, const yaml_event_t *key)
{
    yaml_event_t event;
    if (check_key(r, object, key) != 0 || next(r, &event) != 0)
        return -1;
    json_t *value = read_node(r, &event);
    yaml_event_delete(&event);
    if (!value)
        return -1;
    struct tree_mark *mark = mark_at(r->tree, value);
    mark->key_line = (unsigned)key->start_mark.line + 1;
    mark->key_column = (unsigned)key->start_mark.column + 1;
    if (json_object_set_new(object, (const char *)key->data.scalar.value, value) != 0)
        return complain(r, key->start_mark, "out of memory, or a key that is not UTF-8");
    return 0;
}

static json_t *read_mapping(struct reader *r, const yaml_event_t *start)
{
    json_t *object = remember(r, json_object(), start);
    while (object) {
        yaml_event_t key;
        if (next(r, &key) != 0)
            break;
        bool end = key.type == YAML_MAPPING_END_EVENT;
        int failed = end ? 0 : read_member(r, object, &key);
        yaml_event_delete(&key);
        if (end)
            return object;
        if (failed)
            break;
    }
    json_decref(object);
    return NULL;
}

/* Refuses what makes a small text large (aliases) or has its own type (tags): NULL when the event is neither. */
static const char *refused(const yaml_event_t *event)
{
    const yaml_char_t *anchor = NULL, *tag = NULL;
    switch (event->type) {
    case YAML_ALIAS_EVENT: return "aliases (*name) are not supported: write the value here again";
    case YAML_SCALAR_EVENT:
        anchor = event->data.scalar.anchor;
        tag = event->data.scalar.tag;
        break;
    case YAML_SEQUENCE_START_EVENT:
        anchor = event->data.sequence_start.anchor;
        tag = event->data.sequence_start.tag;
        break;
    case YAML_MAPPING_START_EVENT:
        anchor = event->data.mapping_start.anchor;
        tag = event->data.mapping_start.tag;
        break;
    default: return "a value is missing here";
    }
    if (anchor)
        return "anchors (&name) are not supported: write the value where it is needed";
    return tag ? "tags (!name) are not supported: remove the tag, each key has a fixed type" : NULL;
}

static json_t *read_node(struct reader *r, const yaml_event_t *event)
{
    const char *why = refused(event);
    if (!why && r->depth == TREE_MAX_DEPTH)
        why = "nested too deeply (at most 16 levels)";
    if (why) {
        complain(r, event->start_mark, why);
        return NULL;
    }
    r->depth++;
    json_t *node;
    if (event->type == YAML_SCALAR_EVENT)
        node = read_scalar(r, event);
    else if (event->type == YAML_SEQUENCE_START_EVENT)
        node = read_sequence(r, event);
    else
        node = read_mapping(r, event);
    r->depth--;
    return node;
}

/* The one document of the stream. */
static int read_stream(struct reader *r)
{
    for (;;) {
        yaml_event_t event;
        if (next(r, &event) != 0)
            return -1;
        yaml_event_type_t type = event.type;
        int failed = 0;
        if (type == YAML_DOCUMENT_START_EVENT && r->tree->root)
            failed = complain(r, event.start_mark, "a second document: a file must have only one");
        else if (type != YAML_STREAM_START_EVENT && type != YAML_STREAM_END_EVENT && type != YAML_DOCUMENT_START_EVENT
                 && type != YAML_DOCUMENT_END_EVENT)
            failed = (r->tree->root = read_node(r, &event)) ? 0 : -1;
        yaml_event_delete(&event);
        if (failed || type == YAML_STREAM_END_EVENT)
            return failed;
    }
}

struct tree *tree_parse(struct slice text, struct err *e)
{
    struct tree *y = calloc(1, sizeof *y);
    struct reader r = { .tree = y, .text = text, .e = e };
    if (!y || !(y->index = hash_new()) || !yaml_parser_initialize(&r.parser)) {
        err_set(e, "1:1: out of memory");
        tree_free(y);
        return NULL;
    }
    int failed;
    if (text.len > TREE_MAX_BYTES) {
        failed = err_set(e, "1:1: larger than 1 MiB");
    } else {
        yaml_parser_set_input_string(&r.parser, (const unsigned char *)(text.len ? text.ptr : ""), text.len);
        failed = read_stream(&r);
    }
    yaml_parser_delete(&r.parser);
    if (!failed && (!y->root || tree_is_null(y, y->root))) { /* nothing but comments */
        json_decref(y->root);
        if (!(y->root = json_object()))
            failed = err_set(e, "1:1: out of memory");
    }
    if (!failed)
        return y;
    tree_free(y);
    return NULL;
}

void tree_free(struct tree *y)
{
    if (!y)
        return;
    json_decref(y->root);
    hash_free(y->index);
    free(y->marks);
    free(y);
}

const json_t *tree_root(const struct tree *y)
{
    return y->root;
}

json_t *tree_edit(struct tree *y)
{
    return y->root;
}

struct tree_mark tree_mark(const struct tree *y, const json_t *node)
{
    const struct tree_mark *mark = mark_at(y, node);
    return mark ? *mark : (struct tree_mark){ 0 };
}

bool tree_is_null(const struct tree *y, const json_t *node)
{
    static const char *const nulls[] = { "", "~", "null", "Null", "NULL" };
    if (!json_is_string(node) || !tree_mark(y, node).plain)
        return false;
    for (size_t i = 0; i < sizeof nulls / sizeof *nulls; i++)
        if (strcmp(json_string_value(node), nulls[i]) == 0)
            return true;
    return false;
}

const char *tree_library(void)
{
    return yaml_get_version_string();
}
