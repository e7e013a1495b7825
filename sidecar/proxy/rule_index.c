#include "proxy/rule_index.h"

#include <errno.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/str.h"

#define KEY_SIZE (AUTHORITY_TEXT_MAX + 8)
#define VALUES_MAX 16 /* of one field or query key that may hold a placeholder: more are refused unread */

/* The rules of one host pattern and port: all of them, those that ask for no placeholder, those that answer, and the
 * others by their placeholder. */
struct group {
    struct rule_group all, plain, answers;
    struct when_table *by_placeholder; /* to struct rule_group; NULL: no rule asks for one */
};

struct rule_index {
    struct hash *groups;             /* "host:port" to struct group; host as the rule has it, "*.suffix" too */
    struct when_table *placeholders; /* of all groups, to a rule that has it; NULL: there are none */
};

static struct slice key_of(const char *star, const char *host, uint16_t port, char key[KEY_SIZE])
{
    char digits[20];
    const struct slice pieces[] = { slice_str(star), slice_str(host), SLICE(":"), str_u64(port, digits) };
    size_t len = str_join(key, KEY_SIZE, pieces, sizeof pieces / sizeof *pieces);
    return slice_of(key, len < KEY_SIZE ? len : 0);
}

/* Grows by doubling: count is a power of two when the room is used up. */
static int group_add(struct rule_group *g, const struct rule *r)
{
    if ((g->count & (g->count - 1)) == 0) {
        const struct rule **more = reallocarray(g->rules, g->count ? g->count * 2 : 1, sizeof *more);
        if (!more)
            return -ENOMEM;
        g->rules = more;
    }
    g->rules[g->count++] = r;
    return 0;
}

/* *io_table is made when it is first needed. */
static int put_placeholder(struct when_table **io_table, const struct when *w, void *value)
{
    if (!*io_table)
        *io_table = when_table_new();
    return *io_table ? when_table_put(*io_table, w, value) : -ENOMEM;
}

static int add_by_placeholder(struct group *g, const struct rule *r)
{
    struct rule_group *same = g->by_placeholder ? when_table_at(g->by_placeholder, &r->when) : NULL;
    if (!same) {
        int failed;
        same = calloc(1, sizeof *same);
        if (!same)
            return -ENOMEM;
        if ((failed = put_placeholder(&g->by_placeholder, &r->when, same)) != 0) {
            free(same);
            return failed;
        }
    }
    return group_add(same, r);
}

static struct group *group_at(struct rule_index *i, const struct rule *r)
{
    char text[KEY_SIZE];
    struct slice key = key_of("", r->host, r->port, text);
    struct group *g = hash_get(i->groups, key);
    if (g)
        return g;
    g = calloc(1, sizeof *g);
    if (!g || hash_put(i->groups, key, g) != 0) {
        free(g);
        return NULL;
    }
    return g;
}

static int add(struct rule_index *i, const struct rule *r)
{
    struct group *g = group_at(i, r);
    if (!g || group_add(&g->all, r) != 0)
        return -ENOMEM;
    if (r->answer) {
        int failed = group_add(&g->answers, r);
        return failed ? failed : put_placeholder(&i->placeholders, &r->answered, (void *)(uintptr_t)r);
    }
    if (!when_is_set(&r->when))
        return group_add(&g->plain, r);
    int failed = put_placeholder(&i->placeholders, &r->when, (void *)(uintptr_t)r);
    return failed ? failed : add_by_placeholder(g, r);
}

struct rule_index *rule_index_new(const struct rule *rules, size_t count)
{
    struct rule_index *i = calloc(1, sizeof *i);
    if (!i || !(i->groups = hash_new())) {
        free(i);
        return NULL;
    }
    for (size_t n = 0; n < count; n++)
        if (add(i, &rules[n]) != 0) {
            rule_index_free(i);
            return NULL;
        }
    return i;
}

static void free_rule_group(void *group)
{
    free(((struct rule_group *)group)->rules);
    free(group);
}

static void free_group(void *arg, struct slice key, void *group)
{
    struct group *g = group;
    (void)arg, (void)key;
    when_table_free(g->by_placeholder, free_rule_group);
    free(g->all.rules);
    free(g->plain.rules);
    free(g->answers.rules);
    free(g);
}

void rule_index_free(struct rule_index *i)
{
    if (!i)
        return;
    hash_each(i->groups, free_group, NULL);
    hash_free(i->groups);
    when_table_free(i->placeholders, NULL);
    free(i);
}

static const struct group *group_of(const struct rule_index *i, struct slice key)
{
    static const struct group none;
    const struct group *g = hash_get(i->groups, key);
    return g ? g : &none;
}

static const struct group *exact_group(const struct rule_index *i, const struct authority *a0)
{
    char key[KEY_SIZE];
    return group_of(i, key_of("", a0->host, a0->port, key));
}

static const struct group *wildcard_group(const struct rule_index *i, const struct authority *a0)
{
    static const struct group none;
    char key[KEY_SIZE];
    const char *dot = a0->kind == HOST_NAME ? strchr(a0->host, '.') : NULL;
    return dot && dot != a0->host ? group_of(i, key_of("*", dot, a0->port, key)) : &none;
}

struct rule_group rule_index_exact(const struct rule_index *i, const struct authority *a0)
{
    return exact_group(i, a0)->all;
}

struct rule_group rule_index_wildcard(const struct rule_index *i, const struct authority *a0)
{
    return wildcard_group(i, a0)->all;
}

/* What a rule is chosen by, once for all readings of the path. */
struct search {
    const struct group *groups[2]; /* exact host, wildcard */
    const struct message *request;
    struct slice method;
    const struct rule_path *path;
    bool any_placeholder; /* what rules ask for does not count */
};

/* Among the rules whose placeholder the request carries, exactly once at its place. */
static const struct rule *best_by_placeholder(const struct search *s, const struct group *g, enum rule_reading reading)
{
    const struct rule *best = NULL;
    size_t weight = 0, places = g->by_placeholder ? when_table_places(g->by_placeholder) : 0;
    for (size_t p = 0; p < places; p++) {
        bool more;
        const struct rule_group *same = when_table_get(g->by_placeholder, p, s->request, 0, &more);
        if (same)
            (void)when_table_get(g->by_placeholder, p, s->request, 1, &more);
        const struct rule *r =
            same && !more ? rule_best(same->rules, same->count, s->method, s->path, reading, &weight) : NULL;
        if (r)
            best = r;
    }
    return best;
}

/* An exact host wins over a wildcard, then a rule that answers, then one whose placeholder is there over one that asks
 * for none. */
static const struct rule *best_of(const struct search *s, enum rule_reading reading)
{
    for (size_t n = 0; n < 2; n++) {
        const struct group *g = s->groups[n];
        const struct rule_group *rules = s->any_placeholder ? &g->all : &g->plain;
        size_t weight = 0;
        const struct rule *best =
            s->any_placeholder ? NULL
                               : rule_best(g->answers.rules, g->answers.count, s->method, s->path, reading, &weight);
        if (!best && !s->any_placeholder)
            best = best_by_placeholder(s, g, reading);
        weight = 0;
        if (!best)
            best = rule_best(rules->rules, rules->count, s->method, s->path, reading, &weight);
        if (best)
            return best;
    }
    return NULL;
}

/* A path that servers may read in several ways gets a rule that all readings agree on, or one for every path. */
static const struct rule *find(const struct search *s)
{
    const struct rule *best = best_of(s, s->path->ambiguous ? RULE_ANY_PATH : RULE_RAW);
    bool one_reading = s->path->ambiguous || s->path->plain.ptr == s->path->raw.ptr;
    if (!one_reading && best_of(s, RULE_PLAIN) != best)
        best = best_of(s, RULE_ANY_PATH);
    return best;
}

static bool only_answers(const struct group *g)
{
    return g->all.count == g->answers.count;
}

enum rule_match rule_index_find(const struct rule_index *i, const struct authority *a0, const struct message *request,
                                const struct rule **ret)
{
    struct rule_path path; /* large, and not to be cleared for each request */
    struct search s = { .groups = { exact_group(i, a0), wildcard_group(i, a0) },
                        .path = &path,
                        .request = request,
                        .method = message_method(request) };
    const struct rule *best;
    if (!s.groups[0]->all.count && !s.groups[1]->all.count)
        return RULE_NONE;
    rule_path_read(&path, message_target(request));
    best = find(&s);
    s.any_placeholder = !best && (s.groups[0]->by_placeholder || s.groups[1]->by_placeholder);
    if (!best && s.any_placeholder)
        best = find(&s);
    if (!best && only_answers(s.groups[0]) && only_answers(s.groups[1])) {
        const struct rule_group *g = &s.groups[s.groups[0]->all.count ? 0 : 1]->all;
        *ret = g->rules[0];
        return RULE_ASIDE;
    }
    if (!best)
        return RULE_REFUSED;
    *ret = best;
    return s.any_placeholder ? RULE_PLACEHOLDER : RULE_FOUND;
}

bool rule_index_stray_placeholder(const struct rule_index *i, const struct rule *winner, const struct message *request)
{
    size_t places = i->placeholders ? when_table_places(i->placeholders) : 0;
    for (size_t p = 0; p < places; p++) {
        bool more = !when_table_place(i->placeholders, p)->any;
        if (!more && when_table_strays(i->placeholders, p, winner ? &winner->when : NULL, request))
            return true;
        for (size_t nth = 0; more; nth++) {
            if (nth == VALUES_MAX)
                return true;
            const struct rule *r = when_table_get(i->placeholders, p, request, nth, &more);
            if (r && !(winner && when_same_place(&winner->when, &r->when)))
                return true;
        }
    }
    return false;
}

bool rule_index_stray_text(const struct rule_index *i, struct slice text)
{
    size_t places = i->placeholders ? when_table_places(i->placeholders) : 0;
    for (size_t p = 0; p < places; p++)
        if (when_table_has_text(i->placeholders, p, text))
            return true;
    return false;
}

size_t rule_index_answering(const struct rule_index *i, const struct authority *a0, const struct message *request,
                            const struct rule **ret, size_t most)
{
    const struct group *groups[] = { exact_group(i, a0), wildcard_group(i, a0) };
    size_t count = 0;
    for (size_t n = 0; n < 2; n++)
        for (size_t k = 0; k < groups[n]->answers.count; k++) {
            const struct rule *r = groups[n]->answers.rules[k];
            if (rule_mismatch(r, a0, request))
                continue;
            if (count < most)
                ret[count] = r;
            count++;
        }
    return count;
}

const struct rule *rule_index_first(const struct rule_index *i, const struct authority *a0)
{
    struct rule_group exact = rule_index_exact(i, a0), wildcard = rule_index_wildcard(i, a0);
    const struct rule *a = exact.count ? exact.rules[0] : NULL, *b = wildcard.count ? wildcard.rules[0] : NULL;
    return !a || (b && b < a) ? b : a;
}

bool rule_index_has_credential(const struct rule_index *i, const struct authority *a0)
{
    const struct rule_group groups[] = { rule_index_exact(i, a0), rule_index_wildcard(i, a0) };
    for (size_t n = 0; n < 2; n++)
        for (size_t k = 0; k < groups[n].count; k++)
            if (groups[n].rules[k]->credential)
                return true;
    return false;
}
