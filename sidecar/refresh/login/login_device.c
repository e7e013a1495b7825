/* RFC 8628: a person types a short code on another device, and the token endpoint is asked until that is done. */
#include "refresh/login/login_private.h"

#include "base/clock.h"
#include "base/json_safe.h"

#include <stdio.h>
#include <sysexits.h>

#define GRANT_DEVICE "urn:ietf:params:oauth:grant-type:device_code"
#define INTERVAL_S 5
#define INTERVAL_MAX_S 120
#define LIFE_S 900 /* when the server does not say */
#define LIFE_MAX_S 3600
#define USER_CODE_MAX 64
#define PARAMS_MAX 32 /* of login.params */

struct device {
    struct login_code code;
    int64_t interval_ms, end_ms;
};

static int64_t seconds(const json_t *response, const char *member, int64_t otherwise, int64_t most)
{
    const json_t *value = json_object_get(response, member);
    double s = json_number_value(value);
    if (!(s >= 1))
        return otherwise;
    return s < (double)most ? (int64_t)s : most;
}

static bool is_plain(const char *text, size_t most)
{
    size_t len = text ? strlen(text) : 0;
    for (size_t i = 0; i < len; i++)
        if (text[i] < ' ' || text[i] >= 0x7f)
            return false;
    return len && len <= most;
}

/* RFC 8628 §3.2; "verification_url" is what Google says. */
static int take_response(struct login *l, const json_t *response, struct device *d, struct err *e)
{
    const json_t *code = json_object_get(response, "device_code");
    const char *user = json_string_value(json_object_get(response, "user_code"));
    const char *url = json_string_value(json_object_get(response, "verification_uri"));
    const char *whole = json_string_value(json_object_get(response, "verification_uri_complete"));
    const struct login_progress *p = &l->options->progress;
    url = url ? url : json_string_value(json_object_get(response, "verification_url"));
    if (!json_is_string(code) || !is_plain(user, USER_CODE_MAX) || !is_plain(url, 2048)
        || !login_may_name(l->endpoints.device, url)) {
        err_set(e, "the response to the request for a device code cannot be used: device_code, user_code or "
                   "verification_uri is missing");
        return EX_UNAVAILABLE;
    }
    if (!is_plain(whole, 2048) || !login_may_name(l->endpoints.device, whole))
        whole = NULL;
    d->interval_ms = seconds(response, "interval", INTERVAL_S, INTERVAL_MAX_S) * 1000;
    d->end_ms = clock_mono_ms() + seconds(response, "expires_in", LIFE_S, LIFE_MAX_S) * 1000;
    if (secret_set(&d->code.code, slice_of(json_string_value(code), json_string_length(code))) != 0) {
        err_set(e, "out of memory");
        return EX_OSERR;
    }
    p->device(p->arg, url, user, whole);
    return 0;
}

/* RFC 8628 §3.1. */
static int ask_code(struct login *l, struct device *d, struct err *e)
{
    const struct credential_spec *s = l->spec;
    struct grant_member members[3 + PARAMS_MAX] = { { "scope", slice_str(s->login.scope ? s->login.scope : s->scope) },
                                                    { "audience", slice_str(s->audience) },
                                                    { "resource", slice_str(s->resource) } };
    size_t count = 3;
    for (size_t i = 0; i < s->login.param_count && i < PARAMS_MAX; i++)
        members[count++] = (struct grant_member){ s->login.params[i].name, slice_str(s->login.params[i].value) };
    struct login_response r = { .status = 0 };
    int status = EX_UNAVAILABLE;
    if (login_post(l, l->endpoints.device, members, count, &r, e) != 0)
        status = EX_UNAVAILABLE;
    else if (r.status != 200)
        status = login_refused(l->endpoints.device, &r, e);
    else {
        json_t *response = json_safe_load(buf_slice(&r.body), 0, NULL);
        status = take_response(l, response, d, e);
        json_decref(response);
    }
    login_response_done(&r);
    return status;
}

/* RFC 8628 §3.5.  -1: ask again; else an exit status, 0: r is the answer. */
static int judge(struct login *l, const struct login_response *r, struct device *d, struct err *e)
{
    char why[GRANT_WHY_BYTES] = "", code[GRANT_CODE_MAX + 1] = "";
    struct grant_answer a = { .lifetime_ms = 0 };
    if (r->status
        && grant_answer_parse(&(struct grant_input){ r->status, buf_slice(&r->body), r->cut, l->spec }, &a, why)
               == GRANT_ERROR)
        snprintf(code, sizeof code, "%s", a.code);
    grant_answer_done(&a);
    if (r->status == 0 || r->status == 429 || r->status >= 500 || strcmp(code, "slow_down") == 0) {
        d->interval_ms += INTERVAL_S * 1000;
        return -1;
    }
    if (strcmp(code, "authorization_pending") == 0)
        return -1;
    if (strcmp(code, "access_denied") == 0) {
        err_set(e, "the sign-in was refused (access_denied)");
        return EX_NOPERM;
    }
    if (strcmp(code, "expired_token") == 0) {
        err_set(e, "the device code has expired before it was used: run sidekey login again");
        return EX_UNAVAILABLE;
    }
    return code[0] || r->status >= 300 ? login_refused(l->spec->token_url, r, e) : 0;
}

static int poll_once(struct login *l, struct device *d, struct login_response *ret, struct err *e)
{
    const struct grant_member members[] = {
        { "grant_type", SLICE(GRANT_DEVICE) },
        { "device_code", secret_peek(&d->code.code) },
        { "resource", slice_str(l->spec->resource) },
    };
    login_response_done(ret);
    if (login_post(l, l->spec->token_url, members, sizeof members / sizeof *members, ret, e) != 0)
        return EX_UNAVAILABLE;
    return judge(l, ret, d, e);
}

int login_device(struct login *l, struct login_response *ret, struct err *e)
{
    struct device d = { .interval_ms = 0 };
    int status = ask_code(l, &d, e);
    for (bool again = status == 0; again; again = status < 0) {
        int64_t next_ms = clock_mono_ms() + d.interval_ms;
        login_wait_shown(l, NULL, next_ms < d.end_ms ? next_ms : d.end_ms, d.end_ms);
        if (clock_mono_ms() >= d.end_ms) {
            err_set(e, "the device code has expired before it was used: run sidekey login again");
            status = EX_UNAVAILABLE;
        } else {
            login_hold_signals(true);
            status = poll_once(l, &d, ret, e);
            login_hold_signals(status == 0);
        }
    }
    login_code_done(&d.code);
    return status;
}
