#include "proxy/when.h"

#include <errno.h>
#include <stdlib.h>

#include "base/hash.h"
#include "http/basic.h"
#include "http/query.h"
#include "proxy/carried.h"

struct when_table {
    struct {
        const struct when *first;
        struct hash *values;
    } places[WHEN_PLACES_MAX];
    size_t count;
};

static const struct slice authorization = { "authorization", sizeof "authorization" - 1 };

/* What is under a placeholder of the place `any`. */
struct any {
    const struct when *when;
    void *value;
};

struct slice when_text(const struct when *w)
{
    if (w->any)
        return slice_str(w->any);
    return slice_str(w->basic_password ? w->basic_password : w->equals);
}

bool when_same_place(const struct when *a, const struct when *b)
{
    if (a->any)
        return b->any;
    if (a->header)
        return b->header && slice_ieq(slice_str(a->header), slice_str(b->header));
    if (a->query)
        return b->query && strcmp(a->query, b->query) == 0;
    return a->basic_password && b->basic_password;
}

/* One spelling for all that mean the same: the scheme of Authorization is in lower case. */
static int add_field(struct buf *to, struct slice name, struct slice value)
{
    size_t scheme = slice_ieq(name, authorization) ? slice_find(value, ' ') : 0;
    if (scheme == value.len)
        scheme = 0;
    for (size_t i = 0; i < scheme; i++) {
        char c = value.ptr[i];
        if (c >= 'A' && c <= 'Z')
            c = (char)(c - 'A' + 'a');
        if (buf_add(to, slice_of(&c, 1)) != 0)
            return -ENOBUFS;
    }
    return buf_add(to, slice_skip(value, scheme));
}

static int add_password(struct buf *to, struct slice field)
{
    struct buf plain;
    struct slice user, password;
    buf_init_secret(&plain, WHEN_VALUE_MAX * 2);
    int failed = basic_read(field, &plain, &user, &password);
    if (failed == 0)
        failed = buf_add(to, password);
    buf_done(&plain);
    return failed;
}

/* Field number nth of that name; false: there is none. */
static bool nth_field(const struct message *m, struct slice name, size_t nth, struct slice *ret)
{
    for (size_t i = 0; i < m->field_count; i++)
        if (slice_ieq(message_name_at(m, i), name) && nth-- == 0) {
            *ret = slice_trim(message_value_at(m, i));
            return true;
        }
    return false;
}

static bool nth_member(const struct message *m, struct slice key, size_t nth, struct slice *ret)
{
    struct slice query;
    for (slice_cut(message_target(m), '?', &query); query.len;) {
        struct slice name = slice_cut(slice_cut(query, '&', &query), '=', ret);
        if (query_text_is(name, key, false) && nth-- == 0)
            return true;
    }
    return false;
}

/* Value number nth at the place of w, as it is compared; false: there is none.  *to is empty when the value cannot be a
 * placeholder (too long, no Basic password). */
static bool read_value(const struct when *w, const struct message *m, size_t nth, struct buf *to)
{
    struct slice value;
    int failed;
    if (w->query) {
        if (!nth_member(m, slice_str(w->query), nth, &value))
            return false;
        failed = query_add_decoded(to, value);
    } else {
        struct slice name = w->header ? slice_str(w->header) : authorization;
        if (!nth_field(m, name, nth, &value))
            return false;
        failed = w->header ? add_field(to, name, value) : add_password(to, value);
    }
    if (failed)
        buf_clear(to);
    return true;
}

/* The last run of letters and digits of a placeholder, by which it is known. */
static bool keep_run(void *arg, const struct carried *c)
{
    *(struct slice *)arg = c->run;
    return true;
}

static struct slice run_of(const struct when *w)
{
    struct slice run = { NULL, 0 };
    carried_each_of(slice_str(w->any), keep_run, &run);
    return run;
}

/* The placeholder of w as read_value() would give it, or the key of one that may stand anywhere. */
static int add_text(const struct when *w, struct buf *to)
{
    if (w->any)
        return buf_add(to, run_of(w));
    return w->header ? add_field(to, slice_str(w->header), when_text(w)) : buf_add(to, when_text(w));
}

static bool is_whole(const struct when *w, const struct carried *c)
{
    return c->whole.ptr && slice_eq_secret(c->whole, slice_str(w->any));
}

struct finding {
    const struct when *when;
    bool found;
    size_t field;
};

static bool find_whole(void *arg, const struct carried *c)
{
    struct finding *f = arg;
    if (!is_whole(f->when, c))
        return true;
    f->found = true;
    f->field = c->field;
    return false;
}

bool when_find_any(const struct when *w, const struct message *request, size_t *ret_field)
{
    struct finding f = { .when = w };
    if (carried_each(request, find_whole, &f) != 0 || !f.found)
        return false;
    *ret_field = f.field;
    return true;
}

bool when_holds(const struct when *w, const struct message *request)
{
    struct buf is, wanted;
    size_t field;
    if (!when_is_set(w))
        return true;
    if (w->any)
        return when_find_any(w, request, &field);
    buf_init_secret(&is, WHEN_VALUE_MAX);
    buf_init(&wanted, WHEN_VALUE_MAX);
    bool holds = add_text(w, &wanted) == 0 && read_value(w, request, 0, &is) && is.len
                 && slice_eq_secret(buf_slice(&is), buf_slice(&wanted));
    buf_clear(&is);
    holds = holds && !read_value(w, request, 1, &is);
    buf_done(&is);
    buf_done(&wanted);
    return holds;
}

struct when_table *when_table_new(void)
{
    return calloc(1, sizeof(struct when_table));
}

struct freeing {
    void (*free_value)(void *value);
};

static void free_one(void *arg, struct slice key, void *value)
{
    struct freeing *f = arg;
    (void)key;
    if (f->free_value)
        f->free_value(value);
}

static void free_any(void *arg, struct slice key, void *any)
{
    free_one(arg, key, ((struct any *)any)->value);
    free(any);
}

void when_table_free(struct when_table *t, void (*free_value)(void *value))
{
    for (size_t i = 0; t && i < t->count; i++) {
        hash_each(t->places[i].values, t->places[i].first->any ? free_any : free_one, &(struct freeing){ free_value });
        hash_free(t->places[i].values);
    }
    free(t);
}

static size_t place_of(const struct when_table *t, const struct when *w)
{
    size_t i = 0;
    while (i < t->count && !when_same_place(t->places[i].first, w))
        i++;
    return i;
}

static int put(struct hash *values, struct slice key, const struct when *w, void *value)
{
    if (!w->any)
        return hash_put(values, key, value);
    struct any *any = hash_get(values, key);
    if (any) {
        any->value = value;
        return 0;
    }
    any = malloc(sizeof *any);
    if (!any || hash_put(values, key, any) != 0) {
        free(any);
        return -ENOMEM;
    }
    *any = (struct any){ w, value };
    return 0;
}

int when_table_put(struct when_table *t, const struct when *w, void *value)
{
    struct buf text;
    size_t i = place_of(t, w);
    if (i == WHEN_PLACES_MAX)
        return -ENOBUFS;
    if (i == t->count) {
        struct hash *values = hash_new();
        if (!values)
            return -ENOMEM;
        t->places[i].first = w;
        t->places[i].values = values;
        t->count++;
    }
    buf_init(&text, WHEN_VALUE_MAX);
    int failed = add_text(w, &text);
    if (failed == 0)
        failed = put(t->places[i].values, buf_slice(&text), w, value);
    buf_done(&text);
    return failed;
}

void *when_table_at(const struct when_table *t, const struct when *w)
{
    struct buf text;
    size_t i = place_of(t, w);
    buf_init(&text, WHEN_VALUE_MAX);
    void *value = i < t->count && add_text(w, &text) == 0 ? hash_get(t->places[i].values, buf_slice(&text)) : NULL;
    buf_done(&text);
    return value && w->any ? ((struct any *)value)->value : value;
}

size_t when_table_places(const struct when_table *t)
{
    return t->count;
}

const struct when *when_table_place(const struct when_table *t, size_t place)
{
    return t->places[place].first;
}

struct carrying {
    const struct hash *values;
    const struct any *first, *other; /* two that differ */
};

static bool keep_two(void *arg, const struct carried *c)
{
    struct carrying *k = arg;
    const struct any *any = hash_get(k->values, c->run);
    if (!any || !is_whole(any->when, c) || any == k->first)
        return true;
    if (!k->first)
        k->first = any;
    else
        k->other = any;
    return !k->other;
}

static void *get_any(const struct when_table *t, size_t place, const struct message *request, size_t nth, bool *more)
{
    struct carrying k = { .values = t->places[place].values };
    if (carried_each(request, keep_two, &k) != 0)
        k.first = k.other = NULL;
    const struct any *any = nth == 0 ? k.first : k.other;
    *more = any && nth < 2;
    return *more ? any->value : NULL;
}

struct straying {
    const struct hash *values;
    const struct when *own;
    bool found;
};

static bool find_stray(void *arg, const struct carried *c)
{
    struct straying *s = arg;
    const struct any *any = hash_get(s->values, c->run);
    bool own = any && s->own && s->own->any && strcmp(any->when->any, s->own->any) == 0;
    s->found = any && !(own && is_whole(any->when, c));
    return !s->found;
}

bool when_table_strays(const struct when_table *t, size_t place, const struct when *own, const struct message *request)
{
    struct straying s = { .values = t->places[place].values, .own = own };
    return carried_each(request, find_stray, &s) != 0 || s.found;
}

bool when_table_has_text(const struct when_table *t, size_t place, struct slice text)
{
    struct straying s = { .values = t->places[place].values };
    if (t->places[place].first->any)
        carried_each_of(text, find_stray, &s);
    return s.found;
}

void *when_table_get(const struct when_table *t, size_t place, const struct message *request, size_t nth, bool *more)
{
    struct buf value;
    if (t->places[place].first->any)
        return get_any(t, place, request, nth, more);
    buf_init_secret(&value, WHEN_VALUE_MAX);
    *more = read_value(t->places[place].first, request, nth, &value);
    void *found = *more && value.len ? hash_get(t->places[place].values, buf_slice(&value)) : NULL;
    buf_done(&value);
    return found;
}
