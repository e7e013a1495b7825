#include "proxy/rule_index.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"

#define KEY_SIZE (AUTHORITY_TEXT_MAX + 8)

struct rule_index {
    struct hash *groups; /* "host:port" to struct rule_group; host as the rule has it, "*.suffix" too */
};

static struct slice key_of(const char *star, const char *host, uint16_t port, char key[KEY_SIZE])
{
    int len = snprintf(key, KEY_SIZE, "%s%s:%u", star, host, port);
    return slice_of(key, len > 0 && len < KEY_SIZE ? (size_t)len : 0);
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

static int add(struct rule_index *i, const struct rule *r)
{
    char text[KEY_SIZE];
    struct slice key = key_of("", r->host, r->port, text);
    struct rule_group *g = hash_get(i->groups, key);
    if (!g) {
        g = calloc(1, sizeof *g);
        if (!g || hash_put(i->groups, key, g) != 0) {
            free(g);
            return -ENOMEM;
        }
    }
    return group_add(g, r);
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

static void free_group(void *arg, struct slice key, void *group)
{
    struct rule_group *g = group;
    (void)arg, (void)key;
    free(g->rules);
    free(g);
}

void rule_index_free(struct rule_index *i)
{
    if (!i)
        return;
    hash_each(i->groups, free_group, NULL);
    hash_free(i->groups);
    free(i);
}

static struct rule_group group_of(const struct rule_index *i, struct slice key)
{
    const struct rule_group *g = hash_get(i->groups, key);
    return g ? *g : (struct rule_group){ NULL, 0 };
}

struct rule_group rule_index_exact(const struct rule_index *i, const struct authority *a0)
{
    char key[KEY_SIZE];
    return group_of(i, key_of("", a0->host, a0->port, key));
}

struct rule_group rule_index_wildcard(const struct rule_index *i, const struct authority *a0)
{
    char key[KEY_SIZE];
    const char *dot = a0->kind == HOST_NAME ? strchr(a0->host, '.') : NULL;
    if (!dot || dot == a0->host)
        return (struct rule_group){ NULL, 0 };
    return group_of(i, key_of("*", dot, a0->port, key));
}

struct rule_group rule_index_same(const struct rule_index *i, const struct rule *r)
{
    char key[KEY_SIZE];
    return group_of(i, key_of("", r->host, r->port, key));
}

/* An exact host wins over a wildcard. */
static const struct rule *best_of(const struct rule_group groups[2], struct slice method, const struct rule_path *path,
                                  enum rule_reading reading)
{
    const struct rule *best = rule_best(groups[0].rules, groups[0].count, method, path, reading);
    return best ? best : rule_best(groups[1].rules, groups[1].count, method, path, reading);
}

/* A path that servers may read in several ways gets a rule that all readings agree on, or one for every path. */
enum rule_match rule_index_find(const struct rule_index *i, const struct authority *a0, struct slice method,
                                struct slice target, const struct rule **ret)
{
    const struct rule_group groups[] = { rule_index_exact(i, a0), rule_index_wildcard(i, a0) };
    struct rule_path path;
    if (!groups[0].count && !groups[1].count)
        return RULE_NONE;
    rule_path_read(&path, target);
    const struct rule *best = best_of(groups, method, &path, path.ambiguous ? RULE_ANY_PATH : RULE_RAW);
    bool one_reading = path.ambiguous || path.plain.ptr == path.raw.ptr;
    if (!one_reading && best_of(groups, method, &path, RULE_PLAIN) != best)
        best = best_of(groups, method, &path, RULE_ANY_PATH);
    if (!best)
        return RULE_REFUSED;
    *ret = best;
    return RULE_FOUND;
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
