#include "proxy/rule.h"

#include <stdlib.h>

#include "http/query.h"

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
    free_list(r->upgrades);
    free_list(r->strip);
    free_list(r->strip_query);
    free_pairs(r->append, r->append_count);
    free_pairs(r->set_if_absent, r->set_if_absent_count);
    char *const texts[] = { r->name,           r->host,         r->credential,          r->only_if_header,
                            r->only_if_equals, r->ca_file,      r->cert_file,           r->key_file,
                            r->when.header,    r->when.query,   r->when.basic_password, r->when.equals,
                            r->when.any,       r->answered.any, r->answer_client_id };
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

static bool allows(char *const *methods, struct slice method)
{
    for (; *methods; methods++)
        if (query_text_is(method, slice_str(*methods), true))
            return true;
    return false;
}

static bool methods_allowed(const struct rule *r, const struct message *request)
{
    static const char *const names[] = { "x-http-method-override", "x-http-method", "x-method-override",
                                         "x-original-method", "x-forwarded-method" };
    struct slice query;
    if (!r->methods)
        return true;
    for (size_t i = 0; i < request->field_count; i++)
        for (size_t n = 0; n < sizeof names / sizeof *names; n++)
            if (message_names_alike(message_name_at(request, i), slice_str(names[n]))
                && !allows(r->methods, slice_trim(message_value_at(request, i))))
                return false;
    for (slice_cut(message_target(request), '?', &query); query.len;) {
        struct slice value, name = slice_cut(slice_cut(query, '&', &query), '=', &value);
        if (query_text_is(name, SLICE("_method"), false) && !allows(r->methods, value))
            return false;
    }
    return true;
}

static size_t weight_of(const char *pattern, size_t literal, bool star, struct slice path)
{
    if (star)
        return slice_starts(path, slice_of(pattern, literal)) ? 2 * literal + 1 : 0;
    return slice_eq(slice_of(pattern, literal), path) ? 2 * literal + 2 : 0;
}

/* As servers may read both of them. */
static size_t weight_of_plain(const char *pattern, size_t literal, bool star, struct slice path)
{
    char space[MESSAGE_LINE_MAX_BYTES];
    if (literal > sizeof space) /* no request line is that long */
        return 0;
    size_t len = rule_path_plain(slice_of(pattern, literal), space, NULL);
    return weight_of(space, len, star, path);
}

/* How much of path the pattern says literally: 0: no match; else larger for a longer literal, and an exact pattern
 * beats its own prefix. */
static size_t pattern_weight(const char *pattern, const struct rule_path *path, enum rule_reading reading)
{
    size_t len = strlen(pattern);
    bool star = len > 0 && pattern[len - 1] == '*';
    size_t literal = len - star;
    if (star && literal <= 1) /* "*" and "/…" tell nothing apart */
        return weight_of(pattern, literal, star, path->raw);
    switch (reading) {
    case RULE_RAW: return weight_of(pattern, literal, star, path->raw);
    case RULE_PLAIN: return weight_of_plain(pattern, literal, star, path->plain);
    default: return 0;
    }
}

static size_t path_weight(const struct rule *r, const struct rule_path *path, enum rule_reading reading)
{
    size_t best = r->paths ? 0 : 1;
    for (char **p = r->paths; p && *p; p++) {
        size_t weight = pattern_weight(*p, path, reading);
        if (weight > best)
            best = weight;
    }
    return best;
}

const struct rule *rule_best(const struct rule *const *rules, size_t count, struct slice method,
                             const struct rule_path *path, enum rule_reading reading, size_t *io_weight)
{
    const struct rule *best = NULL;
    for (size_t i = 0; i < count; i++) {
        size_t weight = method_matches(rules[i], method) ? path_weight(rules[i], path, reading) : 0;
        if (weight > *io_weight) {
            best = rules[i];
            *io_weight = weight;
        }
    }
    return best;
}

static bool path_matches(const struct rule *r, struct slice path)
{
    struct rule_path p;
    rule_path_read(&p, path);
    if (p.ambiguous)
        return path_weight(r, &p, RULE_ANY_PATH) > 0;
    return path_weight(r, &p, RULE_RAW) > 0 && path_weight(r, &p, RULE_PLAIN) > 0;
}

static bool is_for_all_paths(const struct rule *r)
{
    bool all = !r->paths;
    for (char **p = r->paths; p && *p; p++)
        all = all || strcmp(*p, "*") == 0 || strcmp(*p, "/*") == 0;
    return all;
}

/* Some servers and gateways take the path from there (IIS, Symfony, Laminas), or may: what gateways say of it (nginx,
 * Envoy, Traefik, Spring, Azure). */
static bool paths_allowed(const struct rule *r, const struct message *request)
{
    static const char *const names[] = { "x-original-url",      "x-rewrite-url",         "x-original-uri",
                                         "x-forwarded-uri",     "x-forwarded-url",       "x-forwarded-path",
                                         "x-forwarded-prefix",  "x-envoy-original-path", "x-replaced-path",
                                         "x-waws-unencoded-url" };
    if (is_for_all_paths(r))
        return true;
    for (size_t i = 0; i < request->field_count; i++)
        for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
            struct slice path = slice_trim(message_value_at(request, i));
            if (message_names_alike(message_name_at(request, i), slice_str(names[n]))
                && (path.len > MESSAGE_LINE_MAX_BYTES || !path_matches(r, path)))
                return false;
        }
    return true;
}

bool rule_overrides_allowed(const struct rule *r, const struct message *request)
{
    return methods_allowed(r, request) && paths_allowed(r, request);
}

const char *rule_mismatch(const struct rule *r, const struct authority *a0, const struct message *request)
{
    if (!host_matches(r, a0))
        return "host";
    if (r->port != a0->port)
        return "port";
    if (!method_matches(r, message_method(request)))
        return "method";
    if (!path_matches(r, message_target(request)))
        return "path";
    return when_holds(&r->when, request) ? NULL : "placeholder";
}

static bool same_file(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

bool rule_host_http2(const struct rule *rules, size_t count, const struct authority *a0)
{
    const struct rule *first = NULL;
    for (size_t i = 0; i < count; i++) {
        const struct rule *r = &rules[i];
        if (!rule_knows(r, a0))
            continue;
        first = first ? first : r;
        if (r->http2 == HTTP2_OFF || !same_file(r->ca_file, first->ca_file)
            || !same_file(r->cert_file, first->cert_file) || !same_file(r->key_file, first->key_file))
            return false;
    }
    return first != NULL;
}
