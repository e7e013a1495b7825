#include "proxy/inject.h"

#include <errno.h>

#include "base/str.h"
#include "http/query.h"
#include "http/rules.h"
#include "proxy/carried.h"

#define VALUE_MAX (MSG_TOKEN_MAX * 2)

bool inject_active(const struct rule *rule)
{
    return rule->credential && rule->inject_count > 0;
}

static struct slice lookup(const struct token *token, struct slice name)
{
    if (slice_eq(name, SLICE("access_token")))
        return secret_peek(&token->secret);
    for (size_t i = 0; i < token->extra_count; i++)
        if (slice_eq(name, slice_str(token->extras[i].key)))
            return slice_str(token->extras[i].value);
    return (struct slice){ NULL, 0 };
}

/* "Bearer {access_token}" → value.  A brace without its partner is text. */
static enum inject_result render(const char *format, const struct token *token, struct buf *out)
{
    struct slice left = slice_str(format);
    while (left.len) {
        size_t open = slice_find(left, '{'), len = slice_find(slice_skip(left, open), '}');
        if (open + len == left.len)
            open = left.len;
        if (buf_add(out, slice_of(left.ptr, open)) != 0)
            return INJECT_TOO_LARGE;
        left = slice_skip(left, open);
        if (!left.len)
            break;
        struct slice value = lookup(token, slice_of(left.ptr + 1, len - 1));
        if (!value.len)
            return INJECT_NO_VALUE;
        if (buf_add(out, value) != 0)
            return INJECT_TOO_LARGE;
        left = slice_skip(left, len + 1);
    }
    return INJECT_DONE;
}

/* target without the query members of that key, or with key NULL of that value; bytes of the others untouched. */
static int query_without(struct slice target, struct slice key, struct slice gone, struct buf *out)
{
    struct slice query, member, name, value;
    size_t mark = slice_find(target, '?');
    char glue = '?';
    int failed = buf_add(out, slice_of(target.ptr, mark));
    for (query = slice_skip(target, mark + 1); query.len && failed == 0;) {
        member = slice_cut(query, '&', &query);
        name = slice_cut(member, '=', &value);
        if (key.ptr ? query_text_is(name, key, false) : query_text_is(value, gone, false))
            continue;
        if ((failed = buf_add(out, slice_of(&glue, 1))) == 0)
            failed = buf_add(out, member);
        glue = '&';
    }
    return failed;
}

static int set_target(struct message *request, struct buf *target)
{
    return message_put(request, buf_slice(target), &request->target);
}

static int strip_members(struct message *request, struct slice key, struct slice value)
{
    struct buf target;
    if (slice_find(message_target(request), '?') == message_target(request).len)
        return 0;
    buf_init_secret(&target, MESSAGE_LINE_MAX_BYTES * 2);
    int failed = query_without(message_target(request), key, value, &target);
    if (failed == 0 && target.len != message_target(request).len)
        failed = set_target(request, &target);
    buf_done(&target);
    return failed;
}

static int strip_query(struct message *request, struct slice key)
{
    return strip_members(request, key, (struct slice){ NULL, 0 });
}

static int set_query(struct message *request, struct slice key, struct slice value)
{
    struct buf target;
    buf_init_secret(&target, MESSAGE_LINE_MAX_BYTES + VALUE_MAX * 3);
    int failed = query_without(message_target(request), key, (struct slice){ NULL, 0 }, &target);
    bool has_query = slice_find(buf_slice(&target), '?') != target.len;
    if (failed == 0 && (failed = buf_add(&target, has_query ? SLICE("&") : SLICE("?"))) == 0
        && (failed = str_add_form(&target, key)) == 0 && (failed = buf_add(&target, SLICE("="))) == 0
        && (failed = str_add_form(&target, value)) == 0)
        failed = set_target(request, &target);
    buf_done(&target);
    return failed;
}

/* "user:{access_token}" → Authorization: Basic. */
static int set_userinfo(struct message *request, struct slice value)
{
    struct buf field;
    buf_init_secret(&field, VALUE_MAX * 2);
    int failed = buf_add(&field, SLICE("Basic "));
    if (failed == 0 && (failed = str_add_base64(&field, value)) == 0)
        failed = message_set(request, SLICE("authorization"), buf_slice(&field));
    buf_done(&field);
    return failed;
}

/* Many servers read X_Api_Key and X-Api-Key as one field (CGI, WSGI): no copy of the client's stays beside ours. */
static int set_header(struct message *request, struct slice name, struct slice value)
{
    message_remove_alike(request, name);
    int failed = message_add(request, name, value);
    if (failed == 0)
        request->fields[request->field_count - 1].sensitive = true;
    return failed;
}

static enum inject_result inject_item(const struct inject_item *item, const struct token *token,
                                      struct message *request)
{
    struct buf value;
    int failed = 0;
    buf_init_secret(&value, VALUE_MAX);
    enum inject_result result = render(item->format, token, &value);
    if (result == INJECT_DONE && !rules_is_value(buf_slice(&value)))
        result = INJECT_NO_VALUE; /* a line end in it: nothing that could be sent */
    if (result == INJECT_DONE) {
        switch (item->in) {
        case INJECT_HEADER: failed = set_header(request, slice_str(item->name), buf_slice(&value)); break;
        case INJECT_QUERY: failed = set_query(request, slice_str(item->name), buf_slice(&value)); break;
        case INJECT_USERINFO: failed = set_userinfo(request, buf_slice(&value)); break;
        }
    }
    buf_done(&value);
    return failed ? INJECT_TOO_LARGE : result;
}

static int join(struct buf *list, struct slice member)
{
    int failed = list->len && member.len ? buf_add(list, SLICE(",")) : 0;
    return failed ? failed : buf_add(list, member);
}

/* One field with all members that came, in their order, and ours behind them. */
static int append_token(struct message *request, struct slice name, struct slice value)
{
    struct buf joined;
    int failed = 0;
    if (message_has_token(request, name, value))
        return 0;
    buf_init(&joined, MESSAGE_HEAD_MAX_BYTES);
    for (size_t i = 0; i < request->field_count && failed == 0; i++)
        if (slice_ieq(message_name_at(request, i), name))
            failed = join(&joined, message_value_at(request, i));
    if (failed == 0 && (failed = join(&joined, value)) == 0)
        failed = message_set(request, name, buf_slice(&joined));
    buf_done(&joined);
    return failed;
}

bool inject_wanted(const struct rule *rule, const struct message *request)
{
    size_t count = 0;
    if (!rule->only_if_header)
        return true;
    struct slice value = message_get(request, slice_str(rule->only_if_header), &count);
    return count == 1 && slice_eq_secret(value, slice_str(rule->only_if_equals));
}

/* Every place that holds it: a program may send it in two. */
static int strip_any(const struct when *w, struct message *request)
{
    size_t field;
    int failed = strip_members(request, (struct slice){ NULL, 0 }, slice_str(w->any));
    while (failed == 0 && when_find_any(w, request, &field)) {
        if (field == CARRIED_TARGET)
            return -ENOBUFS; /* it cannot be taken off */
        message_remove_alike(request, message_name_at(request, field));
    }
    return failed;
}

/* The placeholder that chose the rule means something to sidekey alone. */
static int strip_placeholder(const struct when *w, struct message *request)
{
    if (w->any)
        return strip_any(w, request);
    if (w->query)
        return strip_query(request, slice_str(w->query));
    if (w->header)
        message_remove_alike(request, slice_str(w->header));
    if (w->basic_password)
        message_remove_alike(request, SLICE("authorization"));
    return 0;
}

static int strip_all(const struct rule *rule, struct message *request)
{
    int failed = strip_placeholder(&rule->when, request);
    for (char **name = rule->strip; name && *name; name++)
        message_remove_alike(request, slice_str(*name));
    for (char **key = rule->strip_query; key && *key && failed == 0; key++)
        failed = strip_query(request, slice_str(*key));
    return failed;
}

int inject_strip(const struct rule *rule, struct message *request)
{
    int failed = strip_all(rule, request);
    for (size_t i = 0; i < rule->inject_count && failed == 0; i++)
        switch (rule->inject[i].in) {
        case INJECT_HEADER: message_remove_alike(request, slice_str(rule->inject[i].name)); break;
        case INJECT_QUERY: failed = strip_query(request, slice_str(rule->inject[i].name)); break;
        case INJECT_USERINFO: message_remove_alike(request, SLICE("authorization")); break;
        }
    return failed;
}

bool inject_is_preflight(const struct message *request)
{
    return slice_eq(message_method(request), SLICE("OPTIONS"))
           && message_has_alike(request, SLICE("access-control-request-method"));
}

static int add_fixed(const struct rule *rule, struct message *request)
{
    int failed = 0;
    for (size_t i = 0; i < rule->append_count && failed == 0; i++)
        failed = append_token(request, slice_str(rule->append[i].name), slice_str(rule->append[i].value));
    for (size_t i = 0; i < rule->set_if_absent_count && failed == 0; i++)
        if (!message_has_alike(request, slice_str(rule->set_if_absent[i].name)))
            failed =
                message_add(request, slice_str(rule->set_if_absent[i].name), slice_str(rule->set_if_absent[i].value));
    return failed;
}

enum inject_result inject_request(const struct rule *rule, const struct token *token, struct message *request,
                                  bool again)
{
    if (!again && !inject_wanted(rule, request))
        return INJECT_SKIPPED;
    if (strip_all(rule, request) != 0)
        return INJECT_TOO_LARGE;
    for (size_t i = 0; i < rule->inject_count && rule->credential; i++) {
        enum inject_result result = inject_item(&rule->inject[i], token, request);
        if (result != INJECT_DONE)
            return result;
    }
    return add_fixed(rule, request) == 0 ? INJECT_DONE : INJECT_TOO_LARGE;
}
