/* Why an exchange fails, as a problem that a person can act on. */
#include "proxy/exchange_private.h"
#include "proxy/grpc.h"

#include <stdio.h>
#include <string.h>

void exchange_fail(struct exchange *x, const struct problem *p)
{
    struct message m;
    struct buf body;
    bool reuse = exchange_may_reuse(x) && p->status != 400;
    meter_refused(x->ctx->meter, p->reason);
    x->reason = p->reason;
    if (x->status && !exchange_retract(x)) { /* an answer is under way: all that is left is to make its end visible */
        exchange_abort_client(x);
        return;
    }
    message_init(&m);
    buf_init(&body, 16 * 1024);
    bool call = grpc_is_call(x->request);
    x->refused_status = call ? p->status : 0;
    if ((call ? grpc_build(p, &m) : problem_build(p, reuse, &m, &body)) == 0) {
        exchange_respond(x, &m, buf_slice(&body));
    } else {
        x->status = p->status;
        exchange_finish(x, EXCHANGE_CLOSE);
    }
    buf_done(&body);
    message_done(&m);
}

static const struct {
    enum msg_class failure;
    const char *reason, *hint;
} refusals[] = {
    { MSG_TRANSIENT, "token_unavailable", "the token endpoint cannot be reached; you can send the request again" },
    { MSG_AMBIGUOUS, "token_unavailable",
      "the token endpoint gave no usable response; you can send the request again" },
    { MSG_THROTTLE, "token_throttled",
      "the token endpoint limits the rate of requests; wait as long as Retry-After says" },
    { MSG_CLOCK, "token_clock", "compare this machine's clock with the token endpoint's" },
    { MSG_CONFIG_ERROR, "credential_misconfigured",
      "check client_id, client_secret, scope and token_url of this credential" },
    { MSG_DEAD, "credential_dead",
      "the refresh token was revoked or has expired: sign in again, and configure the new refresh token" },
    { MSG_STORE, "store_unavailable", "the credential store does not answer; see sidekey's log" },
    { MSG_RECENT, "token_unavailable", "a refresh ran a moment ago; wait as long as Retry-After says" },
    { MSG_LINK, "token_unavailable",
      "sidekey's worker lost its link to the keeper and waits for a new one; if this lasts, see sidekey's log and "
      "restart it" },
    { MSG_SLOW, "token_unavailable",
      "the token endpoint or sidekey's keeper does not answer: sidekey status and /livez show which" },
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

const char *exchange_token_hint(const struct token_refusal *refusal)
{
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++)
        if (refusals[i].failure == refusal->failure)
            return refusals[i].hint;
    return "sidekey status shows the last error of the credential";
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
               "set tls.cert_file in the rule";
    if (fault->verify)
        return "to trust a private CA, set tls.ca_file in the rule; only its owner can replace a revoked certificate";
    return NULL;
}

/* The upstream has reset this stream: so do we, with its code, and the client does what it would do without us. */
static void mirror_reset(struct exchange *x, const struct leg_fault *fault)
{
    x->client_leg->reset_no_error = x->status && fault->reset_code == H2_NO_ERROR; /* some servers end bodies so */
    if (!x->client_leg->reset_no_error)
        x->client_leg->reset_code = fault->reset_code ? fault->reset_code : H2_CANCEL;
    if (fault->reset_code == H2_HTTP_1_1_REQUIRED)
        *x->client_leg->falls_back = true;
    x->reason = fault->label;
    x->status = x->status ? x->status : 502;
    exchange_abort_client(x);
}

void exchange_fail_upstream(struct exchange *x, const struct leg_fault *fault)
{
    if (fault->reset) {
        mirror_reset(x, fault);
        return;
    }
    char host[AUTHORITY_TEXT_MAX], detail[512];
    snprintf(detail, sizeof detail, "%s: %s%s", authority_key(&x->a0, host), fault->text,
             fault->renegotiation ? "; it asked for a second TLS handshake (renegotiation), which sidekey refuses; it "
                                    "received the request and may have processed it"
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
    exchange_fail(x,
                  &(struct problem){
                      .status = too_large ? 431 : 503,
                      .error = "proxy_internal_response",
                      .reason = too_large ? "head_too_large" : "token_incomplete",
                      .credential = x->rule ? x->rule->credential : NULL,
                      .detail = too_large ? "the request head is too large to add the credential"
                                          : "the rule's format names a value that the token response does not have" });
}

void exchange_upstream_gone(struct exchange *x, const struct leg_fault *fault)
{
    struct upstream *up = x->up;
    enum close_reason reason = close_reason_of_fault(fault);
    if (x->state == EXCHANGE_OVER)
        return;
    x->up = NULL;
    if (up && fault->reset_code == H2_HTTP_1_1_REQUIRED)
        upstream_wants_h1(up);
    if (x->state == EXCHANGE_HELD) {
        /* the token decides; pass_held() knows what to say */
    } else if (!fault->reset && x->status && !exchange_retract(x)) {
        x->reason = fault->label;
        exchange_abort_client(x);
    } else {
        exchange_fail_upstream(x, fault);
    }
    if (up)
        upstream_drop(up, reason); /* last: the fault's text may be its own */
}
