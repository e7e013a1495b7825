#include "proxy/rule.h"

#include <stdlib.h>

static void free_list(char **list)
{
    for (char **item = list; item && *item; item++)
        free(*item);
    free(list);
}

static void free_pairs(struct name_value *pairs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(pairs[i].name);
        free(pairs[i].value);
    }
    free(pairs);
}

void rule_done(struct rule *r)
{
    for (size_t i = 0; i < r->inject_count; i++) {
        free(r->inject[i].name);
        free(r->inject[i].format);
    }
    for (size_t i = 0; i < r->also_count; i++) {
        free(r->also[i].header);
        free(r->also[i].header_equals);
        free(r->also[i].pointer);
        free(r->also[i].equals);
    }
    free(r->also);
    free(r->inject);
    free_list(r->paths);
    free_list(r->methods);
    free_list(r->strip);
    free_list(r->strip_query);
    free_pairs(r->append, r->append_count);
    free_pairs(r->set_if_absent, r->set_if_absent_count);
    char *const texts[] = { r->name,           r->host,    r->credential, r->only_if_header,
                            r->only_if_equals, r->ca_file, r->cert_file,  r->key_file };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        free(texts[i]);
    memset(r, 0, sizeof *r);
}

static bool is_wildcard(const struct rule *r)
{
    return r->host[0] == '*';
}

/* "*.x.test" stands for exactly one label before ".x.test". */
static bool host_matches(const struct rule *r, const struct authority *a0)
{
    if (!is_wildcard(r))
        return strcmp(r->host, a0->host) == 0;
    const char *dot = strchr(a0->host, '.');
    return a0->kind == HOST_NAME && dot && dot != a0->host && strcmp(dot, r->host + 1) == 0;
}

bool rule_knows(const struct rule *r, const struct authority *a0)
{
    return r->port == a0->port && host_matches(r, a0);
}

static bool method_matches(const struct rule *r, struct slice method)
{
    if (!r->methods)
        return true;
    for (char **m = r->methods; *m; m++)
        if (slice_eq(slice_str(*m), method))
            return true;
    return false;
}

/* Bytes at the front of text that may stand for a dot or a slash (plain, percent-encoded, or the backslash that some
 * servers take for one); 0: something else. */
static size_t special(struct slice text, char *ret)
{
    static const struct {
        char hex[3], means;
    } codes[] = { { "2e", '.' }, { "2E", '.' }, { "2f", '/' }, { "2F", '/' }, { "5c", '/' }, { "5C", '/' } };
    if (text.len == 0)
        return 0;
    *ret = text.ptr[0] == '\\' ? '/' : text.ptr[0];
    if (*ret == '.' || *ret == '/')
        return 1;
    for (size_t i = 0; text.ptr[0] == '%' && text.len >= 3 && i < sizeof codes / sizeof *codes; i++)
        if (memcmp(text.ptr + 1, codes[i].hex, 2) == 0) {
            *ret = codes[i].means;
            return 3;
        }
    return 0;
}

/* The server may read this path as another one than we do ("/v2/../admin", "/v2/%2e%2e/admin", "/v2/..;x/admin"): no
 * pattern that tells paths apart may match it, or a rule for /v2/ would lend its credential to /admin. */
static bool is_ambiguous(struct slice path)
{
    size_t dots = 0;
    bool only_dots = false; /* since the last slash */
    while (path.len > 0) {
        char c = 0;
        size_t len = special(path, &c);
        if (c == '/' || path.ptr[0] == ';') {
            if (only_dots && (dots == 1 || dots == 2))
                return true;
            only_dots = c == '/';
            dots = 0;
        } else if (len && c == '.') {
            dots++;
        } else {
            only_dots = false;
        }
        path = slice_skip(path, len ? len : 1);
    }
    return only_dots && (dots == 1 || dots == 2);
}

/* How much of path the pattern says literally: 0: no match; else larger for a longer literal, and an exact pattern
 * beats its own prefix. */
static size_t pattern_weight(const char *pattern, struct slice path, bool ambiguous)
{
    size_t len = strlen(pattern);
    if (len == 0 || pattern[len - 1] != '*')
        return !ambiguous && slice_eq(slice_str(pattern), path) ? 2 * len + 2 : 0;
    if (len > 2 && ambiguous) /* "*" and "/…" tell nothing apart */
        return 0;
    return slice_starts(path, slice_of(pattern, len - 1)) ? 2 * (len - 1) + 1 : 0;
}

static size_t path_weight(const struct rule *r, struct slice path, bool ambiguous)
{
    size_t best = r->paths ? 0 : 1;
    for (char **p = r->paths; p && *p; p++) {
        size_t weight = pattern_weight(*p, path, ambiguous);
        if (weight > best)
            best = weight;
    }
    return best;
}

enum rule_match rule_find_in(const struct rule *const *rules, size_t count, struct slice method, struct slice path,
                             const struct rule **ret)
{
    const struct rule *best = NULL;
    size_t best_weight = 0;
    path.len = slice_find(path, '?');
    bool ambiguous = count && is_ambiguous(path);
    for (size_t i = 0; i < count; i++) {
        const struct rule *r = rules[i];
        size_t weight = method_matches(r, method) ? path_weight(r, path, ambiguous) : 0;
        bool wins = weight > 0
                    && (!best || (is_wildcard(best) && !is_wildcard(r))
                        || (is_wildcard(best) == is_wildcard(r) && weight > best_weight));
        if (wins) {
            best = r;
            best_weight = weight;
        }
    }
    if (!best)
        return count ? RULE_REFUSED : RULE_NONE;
    *ret = best;
    return RULE_FOUND;
}

const char *rule_mismatch(const struct rule *r, const struct authority *a0, struct slice method, struct slice path)
{
    path.len = slice_find(path, '?');
    return !host_matches(r, a0)                        ? "host"
           : r->port != a0->port                       ? "port"
           : !method_matches(r, method)                ? "method"
           : !path_weight(r, path, is_ambiguous(path)) ? "path"
                                                       : NULL;
}
