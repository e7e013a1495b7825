#include "proxy/answer.h"

#include <stdio.h>
#include <time.h>

#include "base/str.h"
#include "proxy/own_jwt.h"
#include "proxy/problem.h"

static const char refresh_token[] = "refresh_token", client_credentials[] = "client_credentials";
static const char jwt_bearer[] = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/* --- whose it is --- */

static enum answer_verdict fail(struct answer_error *e, int status, const char *code, const char *text)
{
    *e = (struct answer_error){ status, code, text };
    return ANSWER_ERROR;
}

static bool shows(const json_t *params, const struct rule *r)
{
    static const char *const names[] = { "refresh_token", "client_secret", "client_id" };
    bool shown = false;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct slice text = answer_params_text(params, names[i]);
        shown |= text.len && slice_eq_secret(text, slice_str(r->answered.any));
    }
    return shown;
}

static bool same_placeholder(const struct rule *a, const struct rule *b)
{
    return strcmp(a->answered.any, b->answered.any) == 0;
}

/* The rule whose placeholder is shown; *ret_two: those of two are. */
static const struct rule *by_placeholder(const struct answer_asked *a, const json_t *params, bool *ret_two)
{
    const struct rule *found = NULL;
    *ret_two = false;
    for (size_t i = 0; i < a->count; i++) {
        if (!shows(params, a->rules[i]))
            continue;
        *ret_two |= found && !same_placeholder(found, a->rules[i]);
        found = found ? found : a->rules[i];
    }
    return found;
}

static bool names_rule(const struct rule *r, struct slice issuer, struct slice client_id)
{
    struct slice id = slice_str(r->answer_client_id);
    return (id.len && (slice_eq(issuer, id) || slice_eq(client_id, id))) || own_jwt_names(issuer, r->credential);
}

/* An assertion says by its issuer whose it is; one rule alone needs no name. */
static const struct rule *by_name(const struct answer_asked *a, struct slice issuer, struct slice client_id)
{
    for (size_t i = 0; i < a->count; i++)
        if (names_rule(a->rules[i], issuer, client_id))
            return a->rules[i];
    return a->count == 1 ? a->rules[0] : NULL;
}

static bool ends_with(struct slice text, struct slice end)
{
    return text.len >= end.len && slice_eq(slice_skip(text, text.len - end.len), end);
}

static enum answer_verdict judge_jwt(const struct answer_asked *a, const json_t *params, const struct answer_jwt *jwt,
                                     const struct rule **ret, struct answer_error *e)
{
    struct slice issuer = answer_params_text(jwt->claims, "iss");
    const json_t *issuer_number = json_object_get(jwt->claims, "iss");
    char number[24];
    if (json_is_integer(issuer_number)) { /* the id of a GitHub app */
        snprintf(number, sizeof number, "%lld", (long long)json_integer_value(issuer_number));
        issuer = slice_str(number);
    }
    if (!own_jwt_is_signed(a->throwaway_der, jwt))
        return ends_with(issuer, SLICE(OWN_JWT_ACCOUNT_SUFFIX))
                   ? fail(e, 400, "invalid_grant", "the assertion is not signed with the key that sidekey wrote")
                   : ANSWER_OTHERS;
    if (!own_jwt_is_alive(jwt, a->now_s))
        return fail(e, 400, "invalid_grant", "the assertion has expired, or has no exp");
    if (json_object_get(jwt->claims, "target_audience"))
        return fail(e, 400, "invalid_request", "sidekey does not issue ID tokens: target_audience cannot be used");
    *ret = by_name(a, issuer, answer_params_text(params, "client_id"));
    return *ret ? ANSWER_OURS
                : fail(e, 401, "invalid_client",
                       "several credentials can answer this request, and iss names none of them");
}

/* The assertion of the grant, of the client, or of a GitHub app. */
static struct slice assertion_of(const struct answer_asked *a, const json_t *params)
{
    static const char *const names[] = { "assertion", "client_assertion" };
    struct slice text = { NULL, 0 };
    size_t count;
    for (size_t i = 0; i < sizeof names / sizeof *names && !text.len; i++)
        text = answer_params_text(params, names[i]);
    if (text.len || !a->count || !a->rules[0]->answers_installation)
        return text;
    struct slice rest, scheme = slice_cut(message_get(a->request, SLICE("authorization"), &count), ' ', &rest);
    return count == 1 && slice_ieq(scheme, SLICE("Bearer")) ? slice_trim(rest) : text;
}

static bool strays(const struct answer_asked *a, const json_t *node)
{
    const char *key;
    json_t *value;
    bool found =
        json_is_string(node) && a->is_stray(a->arg, slice_of(json_string_value(node), json_string_length(node)));
    for (size_t i = 0; i < json_array_size(node) && !found; i++)
        found = strays(a, json_array_get(node, i));
    json_object_foreach((json_t *)(uintptr_t)node, key, value)
    {
        found = found || a->is_stray(a->arg, slice_str(key)) || strays(a, value);
    }
    return found;
}

/* What is ours, and not a request that can be answered. */
static enum answer_verdict check_grant(const json_t *params, const struct rule *r, struct answer_error *e)
{
    struct slice grant = answer_params_text(params, "grant_type");
    if (r->answers_installation || slice_eq(grant, slice_str(refresh_token)) || slice_eq(grant, slice_str(jwt_bearer))
        || slice_eq(grant, slice_str(client_credentials)))
        return ANSWER_OURS;
    return grant.len ? fail(e, 400, "unsupported_grant_type",
                            "sidekey answers refresh_token, client_credentials and jwt-bearer")
                     : fail(e, 400, "invalid_request", "grant_type is missing");
}

static enum answer_verdict judge(const struct answer_asked *a, const json_t *params, const struct rule **ret,
                                 struct answer_error *e)
{
    bool two;
    struct answer_jwt jwt;
    enum answer_verdict verdict = ANSWER_OTHERS;
    const struct rule *found = by_placeholder(a, params, &two);
    struct slice assertion = assertion_of(a, params);
    if (two)
        return ANSWER_STRAY;
    if (found) {
        *ret = found;
        return check_grant(params, found, e);
    }
    if (assertion.len && answer_params_jwt_read(assertion, &jwt))
        verdict = judge_jwt(a, params, &jwt, ret, e);
    if (assertion.len)
        answer_params_jwt_done(&jwt);
    if (verdict == ANSWER_OURS)
        return check_grant(params, *ret, e);
    return verdict == ANSWER_OTHERS && strays(a, params) ? ANSWER_STRAY : verdict;
}

enum answer_verdict answer_judge(const struct answer_asked *a, const struct rule **ret, struct answer_error *ret_error)
{
    const char *wrong;
    json_t *params = answer_params_read(a->request, a->body, &wrong);
    if (!params)
        return fail(ret_error, 400, "invalid_request", wrong);
    enum answer_verdict verdict = judge(a, params, ret, ret_error);
    json_decref(params);
    return verdict;
}

/* --- what is answered --- */

static int start(int status, const char *challenge, struct message *m)
{
    message_clear(m);
    int failed = message_start_response(m, status, slice_str(problem_phrase(status)));
    if (!failed)
        failed = message_add(m, SLICE("Content-Type"), SLICE("application/json;charset=UTF-8"));
    if (!failed) /* RFC 6749 §5.1 */
        failed = message_add(m, SLICE("Cache-Control"), SLICE("no-store"));
    if (!failed)
        failed = message_add(m, SLICE("Pragma"), SLICE("no-cache"));
    if (!failed && challenge)
        failed = message_add(m, SLICE("WWW-Authenticate"), slice_str(challenge));
    return failed;
}

static void finish(struct message *m, const struct buf *body)
{
    m->framing = FRAMING_LENGTH;
    m->length = body->len;
    m->keep_alive = true;
    m->minor = 1;
}

static int add_member(struct buf *out, const char *name, const char *value)
{
    int failed = buf_printf(out, ",\"%s\":", name);
    return failed ? failed : str_add_json(out, slice_str(value));
}

static bool is_name(const char *key)
{
    return key[strspn(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.")] == '\0'
           && strncmp(key, "expires", 7) != 0 && strcmp(key, "ok") != 0;
}

/* "ok" is what Slack's programs look for, and others pass over (RFC 6749 §5.1). */
static int add_oauth(const struct rule *r, const struct token *token, struct buf *body)
{
    int failed = buf_printf(body, "{\"token_type\":\"Bearer\",\"expires_in\":%d,\"ok\":true", ANSWER_LIFETIME_S);
    for (size_t i = 0; token && i < token->extra_count && !failed; i++)
        if (is_name(token->extras[i].key))
            failed = add_member(body, token->extras[i].key, token->extras[i].value);
    if (!failed)
        failed = add_member(body, "access_token", r->answered.any);
    return failed ? failed : buf_add_str(body, "}\n");
}

/* POST /app/installations/{id}/access_tokens */
static int add_installation(const struct rule *r, int64_t now_s, struct buf *body)
{
    char until[32];
    time_t end = (time_t)(now_s + ANSWER_LIFETIME_S);
    struct tm utc;
    gmtime_r(&end, &utc);
    strftime(until, sizeof until, "%Y-%m-%dT%H:%M:%SZ", &utc);
    int failed = buf_printf(body, "{\"expires_at\":\"%s\",\"permissions\":{},\"repository_selection\":\"all\"", until);
    if (!failed)
        failed = add_member(body, "token", r->answered.any);
    return failed ? failed : buf_add_str(body, "}\n");
}

int answer_build(const struct rule *r, const struct token *token, int64_t now_s, struct message *m, struct buf *body)
{
    bool installation = r->answers_installation;
    int failed = start(installation ? 201 : 200, NULL, m);
    if (!failed)
        failed = installation ? add_installation(r, now_s, body) : add_oauth(r, token, body);
    finish(m, body);
    return failed;
}

int answer_build_error(const struct answer_error *error, int64_t retry_after_s, struct message *m, struct buf *body)
{
    char number[24];
    int failed = start(error->status, error->status == 401 ? "Basic realm=\"sidekey\"" : NULL, m);
    snprintf(number, sizeof number, "%lld", (long long)retry_after_s);
    if (!failed && retry_after_s)
        failed = message_add(m, SLICE("Retry-After"), slice_str(number));
    if (!failed)
        failed = buf_printf(body, "{\"error\":\"%s\"", error->code);
    if (!failed)
        failed = add_member(body, "error_description", error->text);
    if (!failed) /* where GitHub's programs look */
        failed = add_member(body, "message", error->text);
    if (!failed)
        failed = buf_add_str(body, "}\n");
    finish(m, body);
    return failed;
}
