#include "refresh/login/login_message.h"

#include "base/json_safe.h"
#include "base/str.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define TEXT_MAX 4096

/* ---- the message ---- */

static int add_text(struct buf *out, const char *name, const char *text)
{
    int failed = buf_printf(out, "\"%s\":", name);
    if (failed == 0)
        failed = str_add_json(out, slice_str(text));
    return failed == 0 ? buf_add(out, SLICE(",")) : failed;
}

int login_message_write(const struct login_message *h, struct buf *out)
{
    int failed = buf_add(out, SLICE("{"));
    if (failed == 0)
        failed = add_text(out, "credential", h->credential);
    if (failed == 0)
        failed = add_text(out, "token_url", h->token_url);
    if (failed == 0)
        failed = add_text(out, "client_id", h->client_id);
    if (failed == 0)
        failed = add_text(out, "store", h->store);
    if (failed == 0)
        failed = add_text(out, "revocation_url", h->revocation_url);
    if (failed == 0)
        failed = buf_printf(out, "\"act\":%d,\"status\":%d,\"wall_ms\":%" PRId64 ",\"body\":\"", (int)h->act, h->status,
                            h->wall_ms);
    if (failed == 0)
        failed = str_add_base64(out, buf_slice(&h->body));
    return failed == 0 ? buf_add(out, SLICE("\"}")) : failed;
}

static char *text_of(const json_t *root, const char *name)
{
    const json_t *value = json_object_get(root, name);
    size_t len = json_string_length(value);
    if (!json_is_string(value) || len > TEXT_MAX || strlen(json_string_value(value)) != len)
        return NULL;
    return strdup(json_string_value(value));
}

static int read_body(const json_t *root, struct buf *body)
{
    const json_t *value = json_object_get(root, "body");
    buf_init_secret(body, LOGIN_MESSAGE_BODY_MAX);
    return json_is_string(value) ? str_add_unbase64(body, slice_of(json_string_value(value), json_string_length(value)))
                                 : -EINVAL;
}

int login_message_read(struct slice json, struct login_message *ret, struct err *e)
{
    json_t *root = json_safe_load(json, JSON_REJECT_DUPLICATES, NULL);
    json_int_t status = json_integer_value(json_object_get(root, "status")),
               act = json_integer_value(json_object_get(root, "act"));
    ret->credential = text_of(root, "credential");
    ret->token_url = text_of(root, "token_url");
    ret->client_id = text_of(root, "client_id");
    ret->store = text_of(root, "store");
    ret->revocation_url = text_of(root, "revocation_url");
    ret->act = act > 0 && act < LOGIN_ACTS ? (enum login_act)act : LOGIN_LOOK;
    ret->status = status >= 0 && status <= 999 ? (int)status : 0;
    ret->wall_ms = json_integer_value(json_object_get(root, "wall_ms"));
    int failed = read_body(root, &ret->body);
    json_decref(root);
    if (!failed && ret->credential && ret->token_url && ret->client_id && ret->store && ret->revocation_url
        && ret->wall_ms >= 0)
        return 0;
    login_message_done(ret);
    return err_set(e, "the message cannot be read");
}

void login_message_done(struct login_message *h)
{
    free(h->credential);
    free(h->token_url);
    free(h->client_id);
    free(h->store);
    free(h->revocation_url);
    buf_done(&h->body);
    *h = (struct login_message){ .credential = NULL };
}

/* ---- the answer ---- */

int login_message_write_answer(uint64_t generation, const char *note, const char *error, struct buf *out)
{
    int failed = error ? buf_add(out, SLICE("{\"error\":"))
                       : buf_printf(out, "{\"generation\":%" PRIu64 ",\"note\":", generation);
    const char *text = error ? error : note;
    if (failed == 0)
        failed = str_add_json(out, slice_str(text ? text : ""));
    return failed == 0 ? buf_add(out, SLICE("}\n")) : failed;
}

/* It goes to a terminal. */
static void take_text(const json_t *value, struct err *to)
{
    const char *text = json_string_value(value);
    err_set(to, "%s", text ? text : "");
    for (char *c = to->text; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = '?';
}

int login_message_read_answer(struct slice json, uint64_t *ret_generation, struct err *ret_note, struct err *e)
{
    json_t *root = json_safe_load(json, JSON_REJECT_DUPLICATES, NULL);
    const json_t *generation = json_object_get(root, "generation"), *error = json_object_get(root, "error");
    int failed = -1;
    if (json_is_string(error))
        take_text(error, e);
    else if (json_is_integer(generation) && json_integer_value(generation) >= 0) {
        *ret_generation = (uint64_t)json_integer_value(generation);
        take_text(json_object_get(root, "note"), ret_note);
        failed = 0;
    } else
        err_set(e, "no response from the running sidekey");
    json_decref(root);
    return failed;
}
