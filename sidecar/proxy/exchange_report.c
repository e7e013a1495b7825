#include "base/log.h"
#include "proxy/exchange_private.h"

#include <stdio.h>

#define METHOD_SHOWN 32

void exchange_account(struct exchange *x, int status)
{
    char host[AUTHORITY_TEXT_MAX];
    struct slice method = message_method(x->request); /* any token, as long as a line may be */
    enum log_level level = x->reason || status >= 500 ? LOG_WARN : LOG_INFO;
    meter_request(x->ctx->meter, x->rule, status, x->injected ? METER_YES : METER_NO, ev_now(loop_get()) - x->started);
    LOG_AT(level, log_msg("request"), log_str("rule", x->rule ? x->rule->name : "none"),
           log_str("credential", x->credential ? credential_name(x->credential) : ""),
           log_slice("method", slice_of(method.ptr, method.len < METHOD_SHOWN ? method.len : METHOD_SHOWN)),
           log_str("host", authority_key(&x->a0, host)), log_int("status", status),
           log_int("dur_ms", clock_mono_ms() - x->started_ms), log_int("gen", (int64_t)x->generation),
           log_int("sends", x->sends), log_str("reason", x->reason ? x->reason : ""),
           log_str("client", x->client ? x->client->name : ""));
}

static const struct {
    enum msg_class failure;
    const char *reason, *hint;
} refusals[] = {
    { MSG_TRANSIENT, "token_unavailable", "the token endpoint cannot be reached; the request may be sent again" },
    { MSG_AMBIGUOUS, "token_unavailable", "the token endpoint gave no usable answer; the request may be sent again" },
    { MSG_THROTTLE, "token_throttled", "the token endpoint asks for fewer requests" },
    { MSG_CLOCK, "token_clock", "check this machine's clock against the token endpoint's" },
    { MSG_CONFIG_ERROR, "credential_misconfigured",
      "check client_id, client_secret, scope and token_url of this credential" },
    { MSG_DEAD, "credential_dead", "a person must authorise anew: put a new refresh token in place" },
    { MSG_STORE, "store_unavailable", "the credential store does not answer; see sidekey's log" },
    { MSG_RECENT, "token_unavailable", "a refresh ran a moment ago" },
    { MSG_LINK, "token_unavailable",
      "sidekey's worker has no link to its keeper and gets a new one; if this lasts, see sidekey's log and restart "
      "it" },
    { MSG_UNKNOWN_CREDENTIAL, "credential_unknown", "the configuration has no such credential" },
};

void exchange_fail_token(struct exchange *x, const struct token_refusal *refusal)
{
    struct problem p = { .status = 503,
                         .error = "proxy_internal_response",
                         .reason = "token_unavailable",
                         .credential = x->rule->credential,
                         .detail = refusal->text,
                         .retry_after_s = (refusal->retry_after_ms + 999) / 1000 };
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++)
        if (refusals[i].failure == refusal->failure) {
            p.reason = refusals[i].reason;
            p.hint = refusals[i].hint;
        }
    if (p.retry_after_s == 0)
        p.retry_after_s = refusal->failure == MSG_DEAD || refusal->failure == MSG_CONFIG_ERROR ? 300 : 1;
    exchange_fail(x, &p);
}

static const char *upstream_reason(const struct leg_fault *fault)
{
    if (fault->renegotiation)
        return "upstream_renegotiation";
    if (fault->verify)
        return "upstream_certificate";
    if (fault->status == 403)
        return "address_not_allowed";
    if (fault->status == 504)
        return "upstream_timeout";
    /* it was reached, and what it says is no answer */
    return strncmp(fault->label, "http_", 5) == 0 ? "upstream_protocol" : "upstream_unreachable";
}

static const char *upstream_hint(const struct leg_fault *fault)
{
    if (fault->renegotiation)
        return "servers do that to ask for a client certificate: let the server ask for it in the first handshake, and "
               "name it by tls.cert_file in the rule";
    if (fault->verify)
        return "a private root is trusted with tls.ca_file in the rule; a revoked certificate is for its owner to "
               "replace";
    return NULL;
}

void exchange_fail_upstream(struct exchange *x, const struct leg_fault *fault)
{
    char host[AUTHORITY_TEXT_MAX], detail[512];
    snprintf(detail, sizeof detail, "%s: %s%s", authority_key(&x->a0, host), fault->text,
             fault->renegotiation ? "; it had asked for a second TLS handshake (renegotiation), which is refused; the "
                                    "request was delivered and may have been carried out"
                                  : "");
    exchange_fail(x, &(struct problem){ .status = fault->status ? fault->status : 502,
                                        .error = fault->label,
                                        .reason = upstream_reason(fault),
                                        .detail = detail,
                                        .hint = upstream_hint(fault) });
}

void exchange_fail_inject(struct exchange *x, bool too_large)
{
    if (x->up)
        upstream_drop(x->up, CLOSE_REFUSED);
    x->up = NULL;
    exchange_fail(x, &(struct problem){
                         .status = too_large ? 431 : 503,
                         .error = "proxy_internal_response",
                         .reason = too_large ? "head_too_large" : "token_incomplete",
                         .credential = x->rule ? x->rule->credential : NULL,
                         .detail = too_large ? "the request's head has no room for the credential"
                                             : "the rule's format names a value that the token answer did not have" });
}

/* RFC 9110 §9.3.8: what TRACE shows of the request here: nothing that could be a secret. */
static int reflect(const struct message *request, struct buf *out)
{
    static const char *const shown[] = { "host", "via", "max-forwards", "user-agent" };
    int failed = buf_add(out, message_method(request));
    if (failed || (failed = buf_add_str(out, " ")) || (failed = buf_add(out, message_target(request)))
        || (failed = buf_add_str(out, " HTTP/1.1\r\n")))
        return failed;
    for (size_t i = 0; i < request->field_count && failed == 0; i++)
        for (size_t n = 0; n < sizeof shown / sizeof *shown && failed == 0; n++)
            if (slice_ieq(message_name_at(request, i), slice_str(shown[n])))
                (void)!((failed = buf_add(out, message_name_at(request, i))) || (failed = buf_add_str(out, ": "))
                        || (failed = buf_add(out, message_value_at(request, i)))
                        || (failed = buf_add_str(out, "\r\n")));
    return failed ? failed : buf_add_str(out, "\r\n");
}

/* RFC 9110 §7.6.2: Max-Forwards is 0, so the request is answered by the first that reads it. */
void exchange_last_hop(struct exchange *x)
{
    struct message m;
    struct buf body;
    bool trace = slice_ieq(message_method(x->request), SLICE("TRACE"));
    message_init(&m);
    buf_init(&body, 2 * MESSAGE_HEAD_MAX_BYTES);
    int failed = message_start_response(&m, 200, SLICE("OK"));
    if (failed == 0 && trace && (failed = message_add(&m, SLICE("Content-Type"), SLICE("message/http"))) == 0)
        failed = reflect(x->request, &body);
    if (failed == 0 && x->ctx->options->via)
        failed = message_add(&m, SLICE("Via"), SLICE("1.1 sidekey"));
    m.framing = FRAMING_LENGTH;
    m.length = body.len;
    m.keep_alive = exchange_may_reuse(x);
    if (failed == 0)
        exchange_respond(x, &m, buf_slice(&body));
    else
        exchange_fail(x, &(struct problem){ .status = 503, .reason = "out_of_memory" });
    buf_done(&body);
    message_done(&m);
}
