/* May the request go on?  Its authority and framing, its rule, what a credential demands of it, Max-Forwards. */
#include "http/rules.h"
#include "proxy/exchange_private.h"
#include "proxy/own_jwt.h"
#include "proxy/rule_refusal.h"

static void refuse_head(struct exchange *x, struct rules_verdict v)
{
    struct problem p = { .status = v.status,
                         .reason = v.reason,
                         .detail = "the request's authority or framing is not allowed",
                         .hint = "Host, SNI and CONNECT must name the same host and port" };
    if (v.status == 508) {
        p.error = "proxy_loop_detected"; /* RFC 9209 §2.3.32 */
        p.detail = "proxy loop: the request has already passed through sidekey";
        p.hint = "the upstream, or a proxy on the way, must not forward to this sidekey";
    }
    x->client_keeps = x->client_keeps && v.status == 421;
    exchange_fail(x, &p);
}

/* A program's own JWT stands for a placeholder: it is looked at where one is missing.  0; -ENOMEM, -ENOBUFS. */
static int find_rule(struct exchange *x, enum rule_match *ret)
{
    const struct worker_options *o = x->ctx->options;
    const struct own_jwt_key key = { slice_of(o->throwaway_der, o->throwaway_len), o->rules, o->rule_count };
    bool replaced = false;
    *ret = access_find_rule(x->ctx->access, x->client, &x->a0, x->request, &x->rule);
    int failed = *ret == RULE_PLACEHOLDER ? own_jwt_replace(&key, (int64_t)ev_time(), x->request, &replaced) : 0;
    if (replaced && !failed)
        *ret = access_find_rule(x->ctx->access, x->client, &x->a0, x->request, &x->rule);
    return failed;
}

/* Which rule is it, and does it take the request? */
static bool admit_rule(struct exchange *x)
{
    struct problem refused;
    enum rule_match match;
    if (find_rule(x, &match) != 0) {
        exchange_fail(x, &(struct problem){ .status = 503, .reason = "out_of_memory" });
        return false;
    }
    const struct rule *winner = match == RULE_FOUND ? x->rule : NULL;
    const struct rule_question q = { .a0 = &x->a0,
                                     .request = x->request,
                                     .stray = !(winner && winner->answer) /* exchange_answer.c: its body has them */
                                              && access_stray_placeholder(x->ctx->access, winner, x->request),
                                     .deny_unmatched = x->ctx->options->unmatched == UNMATCHED_DENY };
    if (rule_refusal(match, x->rule, &q, &refused)) {
        exchange_fail(x, &refused);
        return false;
    }
    x->untouched = match == RULE_PLACEHOLDER || match == RULE_ASIDE;
    return true;
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
static void answer_last_hop(struct exchange *x)
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

bool exchange_admit(struct exchange *x)
{
    struct rules_verdict v = rules_check_authority(x->request, &x->a0);
    bool bad_hops;
    if (v.status == 0) {
        if (!admit_rule(x))
            return false;
        leg_half_close(x->client_leg, x->rule && x->rule->half_close);
        v = rules_forward_request(x->request, &x->a0, x->ctx->options->via,
                                  x->rule ? (const char *const *)x->rule->upgrades : NULL);
    }
    if (v.status) {
        refuse_head(x, v);
        return false;
    }
    if (rules_hops_left(x->request, &bad_hops) != 0 && !bad_hops)
        return true;
    if (bad_hops)
        exchange_fail(x, &(struct problem){ .status = 400,
                                            .reason = "max_forwards_invalid",
                                            .detail = "Max-Forwards must be one whole number" });
    else
        answer_last_hop(x);
    return false;
}
