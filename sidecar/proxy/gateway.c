#include "proxy/gateway.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "http/basic.h"
#include "http/rules.h"
#include "net/address.h"

#define VALUE_MAX ((size_t)16 * 1024)

/* --- who may --- */

static bool lists_host(char *const *hosts, const char *host)
{
    while (hosts && *hosts && strcmp(*hosts, host) != 0)
        hosts++;
    return hosts && *hosts;
}

/* Host is the listener's own address, localhost, or a name of gateway.hosts (there any port: something may stand before
 * us). */
static bool is_own_host(const struct worker_options *o, const char *here, const struct message *head,
                        struct authority *ret)
{
    struct authority own;
    size_t count;
    struct slice host = message_get(head, SLICE("host"), &count), local = slice_str(here);
    if (slice_starts(local, SLICE("[::ffff:"))) /* IPv4 on a listener of IPv6 (RFC 4291 §2.5.5.2) */
        local = slice_skip(local, 8);
    char text[AUTHORITY_TEXT_MAX];
    snprintf(text, sizeof text, "%.*s", (int)local.len, local.ptr);
    char *bracket = *here == '[' && text[0] != '[' ? strchr(text, ']') : NULL;
    if (bracket)
        memmove(bracket, bracket + 1, strlen(bracket));
    if (count != 1 || authority_parse(host, SCHEME_HTTP, authority_scheme_port(SCHEME_HTTP), ret) != 0
        || authority_parse(slice_str(text), SCHEME_HTTP, 0, &own) != 0)
        return false;
    if (lists_host(o->gateway_hosts, ret->host))
        return true;
    return ret->port == own.port && (strcmp(ret->host, own.host) == 0 || strcmp(ret->host, "localhost") == 0);
}

/* Fetch Metadata Request Headers (W3C) §2.3: what a page of another site makes a browser send. */
static bool is_from_elsewhere(const struct message *head)
{
    size_t count, origins;
    struct slice site = message_get(head, SLICE("sec-fetch-site"), &count);
    (void)message_get(head, SLICE("origin"), &origins);
    bool own = count == 0 || (count == 1 && (slice_eq(site, SLICE("none")) || slice_eq(site, SLICE("same-origin"))));
    return origins != 0 || !own;
}

static bool value_is(const struct message *head, const char *name, const char *text)
{
    size_t count;
    struct slice value = message_get(head, slice_str(name), &count);
    return count == 1 && slice_eq_secret(value, slice_str(text));
}

static bool shows_placeholder(const struct rule *r, const struct message *head)
{
    if (r->when.header)
        return value_is(head, r->when.header, r->when.equals);
    if (when_is_set(&r->when))
        return when_holds(&r->when, head);
    return r->only_if_header && value_is(head, r->only_if_header, r->only_if_equals);
}

/* The part of value where the format has its {…}: "Bearer {access_token}". */
static struct slice filled_in(const char *format, struct slice value)
{
    struct slice before = slice_of(format, strcspn(format, "{"));
    const char *end = strchr(format, '}');
    struct slice after = end ? slice_str(end + 1) : SLICE("");
    size_t around = before.len + after.len;
    if (value.len <= around || !slice_starts(value, before)
        || !slice_eq(slice_skip(value, value.len - after.len), after))
        return (struct slice){ NULL, 0 };
    return slice_of(value.ptr + before.len, value.len - around);
}

/* The first member of the query under that name, as it is written. */
static struct slice query_member(struct slice target, const char *name)
{
    struct slice rest = slice_skip(target, slice_find(target, '?'));
    rest = slice_skip(rest, rest.len ? 1 : 0);
    while (rest.len) {
        struct slice value, member = slice_cut(rest, '&', &rest), key = slice_cut(member, '=', &value);
        if (slice_eq(key, slice_str(name)))
            return value;
    }
    return (struct slice){ NULL, 0 };
}

static struct slice shown_password(const struct inject_item *item, const struct message *head)
{
    size_t count = 0;
    struct slice value;
    switch (item->in) {
    case INJECT_HEADER:
        value = message_get(head, slice_str(item->name), &count);
        return count == 1 ? filled_in(item->format, value) : (struct slice){ NULL, 0 };
    case INJECT_QUERY: return query_member(message_target(head), item->name);
    case INJECT_USERINFO: break; /* shows_basic() */
    }
    return (struct slice){ NULL, 0 };
}

/* RFC 7617: any user. */
static bool shows_basic(const struct access *a, const struct message *head, const struct access_client **ret)
{
    size_t count;
    struct slice user, password, value = message_get(head, SLICE("authorization"), &count);
    struct buf plain;
    buf_init_secret(&plain, VALUE_MAX);
    bool fits = count == 1 && basic_read(value, &plain, &user, &password) == 0 && access_by_password(a, password, ret);
    buf_done(&plain);
    return fits;
}

/* Where a rule asks for a placeholder, a password in its place would be sent on. */
static bool shows_password(const struct access *a, const struct rule *r, const struct message *head,
                           const struct access_client **ret)
{
    if (r->only_if_header || when_is_set(&r->when))
        return false;
    for (size_t i = 0; i < r->inject_count; i++) {
        const struct inject_item *item = &r->inject[i];
        struct slice password = shown_password(item, head);
        if (item->in == INJECT_USERINFO ? shows_basic(a, head, ret)
                                        : password.len && access_by_password(a, password, ret))
            return true;
    }
    return false;
}

/* --- where to --- */

static const struct rule *rule_named(const struct worker_options *o, struct slice name)
{
    for (size_t i = 0; i < o->rule_count; i++)
        if (slice_eq(slice_str(o->rules[i].name), name))
            return &o->rules[i];
    return NULL;
}

/* "/RULE/rest?query": the rule of the longest name that fits, since names may hold slashes. */
static const struct rule *rule_of(const struct worker_options *o, struct slice target, struct slice *ret_rest)
{
    const struct rule *found = NULL;
    if (!target.len || *target.ptr != '/')
        return NULL;
    target = slice_skip(target, 1);
    for (size_t i = 1; i <= target.len; i++) {
        const struct rule *r =
            i == target.len || strchr("/?", target.ptr[i]) ? rule_named(o, slice_of(target.ptr, i)) : NULL;
        if (r) {
            found = r;
            *ret_rest = slice_skip(target, i);
        }
    }
    return found;
}

static int retarget(struct message *head, const struct authority *a0, struct slice rest)
{
    struct buf text;
    char host[AUTHORITY_TEXT_MAX];
    buf_init(&text, MESSAGE_LINE_MAX_BYTES + sizeof host);
    int failed = buf_printf(&text, "%s://%s%s%.*s", a0->scheme == SCHEME_HTTPS ? "https" : "http",
                            authority_text(a0, host), rest.len && *rest.ptr == '/' ? "" : "/", (int)rest.len, rest.ptr);
    if (!failed)
        failed = message_put(head, buf_slice(&text), &head->target);
    buf_done(&text);
    return failed;
}

static bool refuse(struct problem *p, int status, const char *reason, const char *detail, const char *hint)
{
    *p = (struct problem){
        .status = status, .error = "http_request_denied", .reason = reason, .detail = detail, .hint = hint
    };
    return false;
}

/* The call as its own host would get it; the rule that is named must be the one that takes it. */
static bool aim(const struct access *a, const struct rule *r, struct slice rest, struct message *head,
                struct gateway_call *call, struct problem *p)
{
    char text[AUTHORITY_TEXT_MAX];
    const struct rule *found = NULL;
    snprintf(text, sizeof text, strchr(r->host, ':') ? "[%s]" : "%s", r->host);
    if (authority_parse(slice_str(text), r->allow_http ? SCHEME_HTTP : SCHEME_HTTPS, r->port, &call->a0) != 0)
        return refuse(p, 404, "gateway_rule", "this rule is for many hosts",
                      "only a rule for one host can be named here");
    int failed = retarget(head, &call->a0, rest);
    if (failed || rules_check_authority(head, &call->a0).status)
        return refuse(p, failed ? 431 : 400, "target_malformed",
                      "the path does not make a valid target at the rule's host", NULL);
    if (access_find_rule(a, call->who, &call->a0, head, &found) != RULE_FOUND || found != r)
        return refuse(p, 403, "method_or_path_not_allowed",
                      "the named rule does not allow this method and path, or this client may not use it",
                      "sidekey why METHOD URL shows which rule applies");
    return true;
}

bool gateway_admit(const struct access *a, const struct worker_options *o, const char *here, struct message *head,
                   struct gateway_call *ret, struct problem *p)
{
    struct authority host;
    struct slice rest = { NULL, 0 };
    struct gateway_call call = { .who = NULL };
    char text[AUTHORITY_TEXT_MAX];
    if (!is_own_host(o, here, head, &host))
        return refuse(p, 421, "gateway_host", "Host does not name this listener",
                      "use its address or localhost, or list the name in gateway.hosts");
    if (is_from_elsewhere(head))
        return refuse(p, 403, "browser_request", "a browser sent this for a page of another site", NULL);
    const struct rule *r = rule_of(o, message_target(head), &rest);
    if (!r)
        return refuse(p, 404, "gateway_rule", "no rule has that name", "the path is /RULE-NAME/path");
    if (!o->gateway_open && !shows_placeholder(r, head) && !shows_password(a, r, head, &call.who))
        return refuse(p, 403, "gateway_secret",
                      "the field that the rule replaces holds neither the rule's placeholder nor a client's password",
                      "give the program that placeholder or password as its API key");
    if (!aim(a, r, rest, head, &call, p))
        return false;
    if (asprintf(&call.base, "http://%s/%s", authority_text(&host, text), r->name) < 0)
        return refuse(p, 503, "out_of_memory", NULL, NULL);
    *ret = call;
    return true;
}

/* --- the response --- */

/* The part of a reference behind its authority, when that is a0's; or the reference itself when it is a path.  Empty:
 * it leads elsewhere, or is relative to what it came with. */
static struct slice path_at(struct slice uri, const struct authority *a0)
{
    struct authority at;
    struct slice none = { NULL, 0 }, rest = uri;
    enum scheme scheme = a0->scheme;
    if (slice_starts(uri, SLICE("https://")))
        scheme = SCHEME_HTTPS, rest = slice_skip(uri, 6);
    else if (slice_starts(uri, SLICE("http://")))
        scheme = SCHEME_HTTP, rest = slice_skip(uri, 5);
    if (!slice_starts(rest, SLICE("//")))
        return slice_starts(uri, SLICE("/")) ? uri : none;
    rest = slice_skip(rest, 2);
    size_t end = 0;
    while (end < rest.len && !strchr("/?#", rest.ptr[end]))
        end++;
    if (authority_parse(slice_of(rest.ptr, end), scheme, authority_scheme_port(scheme), &at) != 0
        || !authority_eq(&at, a0))
        return none;
    return end < rest.len ? slice_skip(rest, end) : SLICE("/");
}

static int add_uri(struct buf *out, struct slice uri, const struct authority *a0, const char *base)
{
    struct slice path = path_at(uri, a0);
    return path.len ? buf_printf(out, "%s%.*s", base, (int)path.len, path.ptr) : buf_add(out, uri);
}

/* RFC 8288 §3: "<uri>; rel=next, <uri>". */
static int add_link(struct buf *out, struct slice value, const struct authority *a0, const char *base)
{
    int failed = 0;
    while (value.len && !failed) {
        size_t open = slice_find(value, '<');
        struct slice inside = slice_skip(value, open + (open < value.len));
        size_t close = slice_find(inside, '>');
        failed = buf_add(out, slice_of(value.ptr, open + (open < value.len)));
        if (!failed && close < inside.len)
            failed = add_uri(out, slice_of(inside.ptr, close), a0, base);
        else if (!failed)
            failed = buf_add(out, inside);
        value = slice_skip(inside, close);
    }
    return failed;
}

static int add_cookie(struct buf *out, struct slice value)
{
    int failed = 0;
    for (bool first = true; (first || value.len) && !failed; first = false) {
        struct slice ignored, part = slice_cut(value, ';', &value), name = slice_trim(slice_cut(part, '=', &ignored));
        if (!first && (slice_ieq(name, SLICE("domain")) || slice_ieq(name, SLICE("secure"))))
            continue;
        failed = first ? 0 : buf_add_str(out, ";");
        if (!failed)
            failed = buf_add(out, part);
    }
    return failed;
}

static int rewrite_field(struct buf *out, struct slice name, struct slice value, const struct authority *a0,
                         const char *base)
{
    if (slice_ieq(name, SLICE("location")) || slice_ieq(name, SLICE("content-location")))
        return add_uri(out, slice_trim(value), a0, base);
    if (slice_ieq(name, SLICE("link")))
        return add_link(out, value, a0, base);
    return slice_ieq(name, SLICE("set-cookie")) ? add_cookie(out, value) : 0;
}

int gateway_rewrite(struct message *response, const struct authority *a0, const char *base)
{
    struct buf text;
    int failed = 0;
    buf_init(&text, 4 * VALUE_MAX);
    for (size_t i = 0; i < response->field_count && !failed; i++) {
        buf_clear(&text);
        failed = rewrite_field(&text, message_name_at(response, i), message_value_at(response, i), a0, base);
        if (!failed && text.len)
            failed = message_put(response, buf_slice(&text), &response->fields[i].value);
    }
    buf_done(&text);
    return failed;
}
