#include "refresh/flight/classify.h"

#include <errno.h>
#include <time.h>

/* Codes of RFC 6749 §5.2, RFC 8693 §2.2.2, OIDC Core §3.1.2.6, and of vendors who have their own. */
static const struct {
    const char *code;
    enum msg_class failure;
    bool reused;
} codes[] = {
    { "invalid_grant", MSG_DEAD, false },
    { "bad_refresh_token", MSG_DEAD, false },     /* GitHub, HTTP 200 */
    { "invalid_refresh_token", MSG_DEAD, false }, /* Slack, HTTP 200 */
    { "token_revoked", MSG_DEAD, false },         /* Slack */
    { "token_expired", MSG_DEAD, false },         /* Slack */
    { "refresh_token_expired", MSG_DEAD, false }, /* OpenAI, HTTP 401 */
    { "refresh_token_reused", MSG_DEAD, true },
    { "refresh_token_invalidated", MSG_DEAD, false },
    { "invalid_code", MSG_DEAD, false }, /* Zoho */
    { "login_required", MSG_DEAD, false },
    { "interaction_required", MSG_DEAD, false },
    { "consent_required", MSG_DEAD, false },
    { "account_selection_required", MSG_DEAD, false },
    { "invalid_client", MSG_CONFIG_ERROR, false },
    { "unauthorized_client", MSG_CONFIG_ERROR, false },
    { "unsupported_grant_type", MSG_CONFIG_ERROR, false },
    { "invalid_scope", MSG_CONFIG_ERROR, false },
    { "invalid_request", MSG_CONFIG_ERROR, false },
    { "invalid_target", MSG_CONFIG_ERROR, false },
    { "incorrect_client_credentials", MSG_CONFIG_ERROR, false }, /* GitHub */
    { "bad_client_secret", MSG_CONFIG_ERROR, false },            /* Slack */
    { "invalid_client_id", MSG_CONFIG_ERROR, false },
    { "access_denied", MSG_CONFIG_ERROR, false }, /* Atlassian: wrong secret */
    { "slow_down", MSG_THROTTLE, false },
    { "rate_limited", MSG_THROTTLE, false },
    { "ratelimited", MSG_THROTTLE, false },
    { "too_many_requests", MSG_THROTTLE, false },
    { "server_error", MSG_AMBIGUOUS, false },
    { "internal_failure", MSG_AMBIGUOUS, false },
    { "internal_error", MSG_AMBIGUOUS, false },
    { "temporarily_unavailable", MSG_TRANSIENT, false },
    { "service_unavailable", MSG_TRANSIENT, false },
};

/* First row that covers the status wins. A refusal without a code is nobody's verdict on the refresh token. */
static const struct {
    int from, to;
    enum msg_class failure;
} statuses[] = {
    { 200, 299, MSG_AMBIGUOUS }, /* empty or broken: the token may have been rotated */
    { 300, 399, MSG_TRANSIENT }, /* redirects are not followed */
    { 401, 401, MSG_TRANSIENT }, /* without a code: a gateway */
    { 403, 403, MSG_TRANSIENT }, { 407, 407, MSG_TRANSIENT }, { 408, 408, MSG_AMBIGUOUS },
    { 421, 425, MSG_TRANSIENT }, { 429, 429, MSG_THROTTLE },  { 400, 499, MSG_CONFIG_ERROR },
    { 500, 599, MSG_AMBIGUOUS },
};

static enum msg_class by_status(const struct classify_input *in)
{
    if (in->html && in->status >= 400 && in->status < 500 && in->status != 408 && in->status != 429)
        return MSG_TRANSIENT;
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++)
        if (in->status >= statuses[i].from && in->status <= statuses[i].to)
            return statuses[i].failure;
    return MSG_AMBIGUOUS;
}

enum msg_class classify(const struct classify_input *in)
{
    if (in->status == 0)
        return in->sent ? MSG_AMBIGUOUS : MSG_TRANSIENT;
    if (in->status == 429)
        return MSG_THROTTLE;
    for (size_t i = 0; in->code.len && i < sizeof codes / sizeof *codes; i++)
        if (slice_eq(in->code, slice_str(codes[i].code))) {
            /* Without a refresh token in the request there is none that could be dead: then what was configured is
             * wrong. */
            return codes[i].failure == MSG_DEAD && !in->spends_token ? MSG_CONFIG_ERROR : codes[i].failure;
        }
    if (in->code.len && in->status < 500 && in->status != 408)
        return MSG_CONFIG_ERROR;
    return by_status(in);
}

bool classify_reused(struct slice code)
{
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (slice_eq(code, slice_str(codes[i].code)))
            return codes[i].reused;
    return false;
}

/* Seconds since 1970, or 0.  Servers may send the first form only; who reads must know all three (RFC 9110 §5.6.7). */
static int64_t http_date(struct slice value)
{
    static const char *const forms[] = { "%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT",
                                         "%a %b %e %H:%M:%S %Y" };
    char text[40];
    if (value.len >= sizeof text)
        return 0;
    memcpy(text, value.ptr, value.len);
    text[value.len] = '\0';
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        struct tm utc = { 0 };
        const char *end = strptime(text, forms[i], &utc);
        if (end && *end == '\0')
            return (int64_t)timegm(&utc);
    }
    return 0;
}

int64_t classify_retry_after_ms(struct slice value, int64_t date_s, int64_t now_s)
{
    uint64_t seconds = 0;
    value = slice_trim(value);
    if (value.len == 0)
        return 0;
    int failed = slice_u64(value, 300, &seconds);
    if (failed == -ERANGE)
        seconds = 300;
    else if (failed) {
        int64_t at = http_date(value), since = at - (date_s ? date_s : now_s);
        if (at == 0)
            return 0;
        if (since < 1)
            seconds = 1;
        else if (since > 300)
            seconds = 300;
        else
            seconds = (uint64_t)since;
    }
    return (int64_t)(seconds ? seconds : 1) * 1000;
}
