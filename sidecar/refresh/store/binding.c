#include "refresh/store/binding.h"

#include "base/json_safe.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define OWN "sidekey_binding"
#define LINES "sidekey_lines"

char *binding_text(const char *authority, const char *client_id)
{
    char *text = NULL;
    if (!authority || !*authority || asprintf(&text, "%s %s", authority, client_id ? client_id : "") < 0)
        return NULL;
    char *colon = text;
    for (char *c = text; *c && *c != ' '; c++)
        if (*c == ':')
            colon = c;
    if (colon > text && colon[-1] == '.') /* the root's dot names the same host */
        memmove(colon - 1, colon, strlen(colon) + 1);
    return text;
}

const char *binding_of(const struct state *doc)
{
    return json_string_value(json_object_get(doc->extra, OWN));
}

/* The state as a JSON object with its generation; NULL: no memory. */
static json_t *as_json(const struct state *s)
{
    struct buf text;
    buf_init_secret(&text, STATE_MAX_BYTES);
    json_t *root = state_write(s, &text) == 0 ? json_safe_load(buf_slice(&text), JSON_ALLOW_NUL, NULL) : NULL;
    buf_done(&text);
    return root;
}

static int from_json(const json_t *line, struct state *ret)
{
    struct err e;
    struct buf text;
    buf_init_secret(&text, STATE_MAX_BYTES);
    char *dump = json_dumps(line, JSON_COMPACT);
    int failed = dump ? buf_add(&text, slice_str(dump)) : -ENOMEM;
    if (dump) {
        explicit_bzero(dump, strlen(dump));
        free(dump);
    }
    if (failed == 0 && state_read(ret, buf_slice(&text), &e) != 0)
        failed = -EBADMSG;
    buf_done(&text);
    return failed;
}

static int forget_oldest(json_t *lines)
{
    const char *name, *oldest = NULL;
    json_t *line;
    json_int_t least = 0;
    json_object_foreach(lines, name, line)
    {
        json_int_t generation = json_integer_value(json_object_get(line, "generation"));
        if (!oldest || generation < least) {
            oldest = name;
            least = generation;
        }
    }
    return oldest ? json_object_del(lines, oldest) : -1;
}

static int put_line(json_t *lines, const char *binding, json_t *line)
{
    while (json_object_size(lines) >= BINDING_LINES_MAX && forget_oldest(lines) == 0)
        continue;
    return json_object_set_new(lines, binding, line) == 0 ? 0 : -ENOMEM;
}

/* Takes the two members out of *doc; *lines is the caller's, an object. */
static int take_lines(struct state *doc, json_t **lines)
{
    const json_t *stored = json_object_get(doc->extra, LINES);
    *lines = json_is_object(stored) ? json_safe_copy(stored) : json_object();
    if (!*lines)
        return -ENOMEM;
    if (doc->extra) {
        (void)json_object_del(doc->extra, OWN); /* fails when it is missing: fine */
        (void)json_object_del(doc->extra, LINES);
        if (json_object_size(doc->extra) == 0) {
            json_decref(doc->extra);
            doc->extra = NULL;
        }
    }
    return 0;
}

/* *doc is another's: it goes among the lines, and ours comes out of them. */
static int exchange(struct state *doc, const char *theirs, const char *binding, json_t *lines)
{
    struct state ours;
    state_init(&ours);
    const json_t *line = json_object_get(lines, binding);
    int failed = line ? from_json(line, &ours) : 0;
    json_t *top = failed ? NULL : as_json(doc);
    if (!failed)
        failed = top ? put_line(lines, theirs, top) : -ENOMEM;
    if (failed) {
        state_done(&ours);
        return failed;
    }
    state_done(doc);
    *doc = ours;
    return 0;
}

int binding_split(struct state *doc, const char *binding, json_t **others)
{
    struct state view;
    json_t *lines = NULL;
    char *theirs = NULL;
    const char *stored = binding_of(doc);
    state_init(&view);
    int failed = state_copy(&view, doc);
    if (failed == 0 && stored && strcmp(stored, binding) != 0 && !(theirs = strdup(stored)))
        failed = -ENOMEM;
    if (failed == 0)
        failed = take_lines(&view, &lines);
    if (failed == 0 && theirs)
        failed = exchange(&view, theirs, binding, lines);
    if (failed == 0)
        (void)json_object_del(lines, binding);
    free(theirs);
    if (failed) {
        state_done(&view);
        json_decref(lines);
        return failed;
    }
    state_done(doc);
    *doc = view;
    json_decref(*others);
    *others = json_object_size(lines) ? json_incref(lines) : NULL;
    json_decref(lines);
    return 0;
}

int binding_join(struct state *doc, const char *binding, const json_t *others)
{
    if (!doc->extra && !(doc->extra = json_object()))
        return -ENOMEM;
    if (json_object_set_new(doc->extra, OWN, json_string(binding)) != 0)
        return -ENOMEM;
    if (!others) {
        (void)json_object_del(doc->extra, LINES);
        return 0;
    }
    json_t *copy = json_safe_copy(others);
    return copy && json_object_set_new(doc->extra, LINES, copy) == 0 ? 0 : -ENOMEM;
}

/* FNV-1a, 64 bits: told apart are the few that one operator writes, nobody who attacks. */
void binding_tag(const char *binding, char text[BINDING_TAG_SIZE])
{
    uint64_t hash = UINT64_C(14695981039346656037);
    for (const char *c = binding; *c; c++)
        hash = (hash ^ (unsigned char)*c) * UINT64_C(1099511628211);
    snprintf(text, BINDING_TAG_SIZE, "%016" PRIx64, hash);
}
