#include "proxy/answer_params.h"

#include "base/json_safe.h"
#include "base/str.h"
#include "http/query.h"

#define TEXT_MAX ((size_t)64 * 1024)

static const char no_memory[] = "out of memory";

/* A member that is not there yet.  false: it is, or it is no text. */
static bool add(json_t *params, struct slice name, struct slice value)
{
    char *key = slice_dup(name);
    bool added = key && !json_object_get(params, key) && json_object_size(params) < ANSWER_PARAMS_MAX
                 && json_object_set_new(params, key, json_stringn(value.ptr ? value.ptr : "", value.len)) == 0;
    free(key);
    return added;
}

static bool add_decoded(json_t *params, struct slice name, struct slice value)
{
    struct buf plain_name, plain_value;
    buf_init(&plain_name, TEXT_MAX);
    buf_init_secret(&plain_value, TEXT_MAX);
    bool added = query_add_decoded(&plain_name, name) == 0 && query_add_decoded(&plain_value, value) == 0
                 && !memchr(buf_slice(&plain_name).ptr ? buf_slice(&plain_name).ptr : "", '\0', plain_name.len)
                 && add(params, buf_slice(&plain_name), buf_slice(&plain_value));
    buf_done(&plain_name);
    buf_done(&plain_value);
    return added;
}

static json_t *read_form(struct slice body, const char **ret_wrong)
{
    json_t *params = json_object();
    bool good = params;
    *ret_wrong = params ? "the form is damaged, too long, or has a name twice" : no_memory;
    for (struct slice value; body.len && good;) {
        struct slice name = slice_cut(slice_cut(body, '&', &body), '=', &value);
        good = (!name.len && !value.len) || add_decoded(params, name, value);
    }
    if (good)
        return params;
    json_decref(params);
    return NULL;
}

static json_t *read_json(struct slice body, const char **ret_wrong)
{
    json_t *params = json_safe_load(body, JSON_REJECT_DUPLICATES, NULL);
    *ret_wrong = "the body is not a JSON object, or is too large, or has a name twice";
    if (json_is_object(params) && json_object_size(params) <= ANSWER_PARAMS_MAX)
        return params;
    json_decref(params);
    return NULL;
}

static json_t *read_body(const struct message *request, struct slice body, const char **ret_wrong)
{
    size_t coded, types;
    struct slice rest, type = message_get(request, SLICE("content-type"), &types);
    (void)message_get(request, SLICE("content-encoding"), &coded);
    type = slice_trim(slice_cut(type, ';', &rest));
    *ret_wrong = "the body must be a form or JSON, without a content coding";
    if (coded || types > 1)
        return NULL;
    if (slice_ieq(type, SLICE("application/json")))
        return body.len ? read_json(body, ret_wrong) : json_object();
    if (slice_ieq(type, SLICE("application/x-www-form-urlencoded")) || !body.len)
        return read_form(body, ret_wrong);
    return NULL;
}

/* RFC 6749 §2.3.1: both are form-encoded first. */
static void add_basic(json_t *params, const struct message *request)
{
    size_t count;
    struct slice coded, secret, field = message_get(request, SLICE("authorization"), &count);
    struct slice scheme = slice_cut(slice_trim(field), ' ', &coded);
    struct buf plain;
    if (count != 1 || !slice_ieq(scheme, SLICE("Basic")))
        return;
    buf_init_secret(&plain, TEXT_MAX);
    if (str_add_unbase64(&plain, slice_trim(coded)) == 0) {
        struct slice id = slice_cut(buf_slice(&plain), ':', &secret);
        (void)!add_decoded(params, SLICE("client_id"), id);
        (void)!add_decoded(params, SLICE("client_secret"), secret);
    }
    buf_done(&plain);
}

json_t *answer_params_read(const struct message *request, struct slice body, const char **ret_wrong)
{
    json_safe_init();
    json_t *params = read_body(request, body, ret_wrong);
    if (params)
        add_basic(params, request);
    return params;
}

struct slice answer_params_text(const json_t *params, const char *name)
{
    const json_t *value = json_object_get(params, name);
    return slice_of(json_string_value(value), json_string_length(value));
}

static json_t *read_part(struct slice part)
{
    struct buf plain;
    buf_init(&plain, TEXT_MAX);
    json_t *object = str_add_unbase64(&plain, part) == 0 ? json_safe_load(buf_slice(&plain), 0, NULL) : NULL;
    buf_done(&plain);
    return object;
}

bool answer_params_jwt_read(struct slice text, struct answer_jwt *ret)
{
    struct slice rest, last, header = slice_cut(text, '.', &rest), claims = slice_cut(rest, '.', &last);
    *ret = (struct answer_jwt){ .signed_text = slice_of(text.ptr, header.len + 1 + claims.len) };
    buf_init(&ret->signature, TEXT_MAX);
    if (!header.len || !claims.len || !last.len || slice_find(last, '.') != last.len)
        return false;
    ret->header = read_part(header);
    ret->claims = read_part(claims);
    return json_is_object(ret->header) && json_is_object(ret->claims) && str_add_unbase64(&ret->signature, last) == 0;
}

void answer_params_jwt_done(struct answer_jwt *jwt)
{
    json_decref(jwt->header);
    json_decref(jwt->claims);
    buf_done(&jwt->signature);
}
