#include "proxy/rule_refusal.h"

#include "net/address.h"
#include "proxy/inject.h"

static bool refuse_rule(const char *reason, const char *detail, struct problem *ret)
{
    *ret = (struct problem){ .status = 403,
                             .error = "http_request_denied",
                             .reason = reason,
                             .detail = detail,
                             .hint = "sidekey why METHOD URL shows which rule applies" };
    return true;
}

/* What a credential demands of the request that carries it. */
static bool refuse_credential(const struct rule *rule, const struct rule_question *q, struct problem *ret)
{
    if (slice_ieq(message_method(q->request), SLICE("TRACE"))) {
        *ret = (struct problem){ .status = 405,
                                 .error = "http_request_denied",
                                 .reason = "trace_refused",
                                 .detail = "TRACE is not allowed: the response would show the credential" };
        return true;
    }
    if (!rule_path_escapes_valid(message_target(q->request))) {
        *ret = (struct problem){ .status = 400,
                                 .reason = "target_escape",
                                 .detail = "the path has a percent sign that is not followed by two hex digits",
                                 .hint = "write a percent sign as %25" };
        return true;
    }
    if (q->a0->scheme == SCHEME_HTTP && !rule->allow_http && !address_names_loopback(slice_str(q->a0->host))) {
        *ret = (struct problem){ .status = 403,
                                 .error = "http_request_denied",
                                 .reason = "plain_http",
                                 .credential = rule->credential,
                                 .detail = "sidekey does not send a credential over plain http",
                                 .hint = "use https, or set allow_http: true in the rule" };
        return true;
    }
    return false;
}

bool rule_refusal(enum rule_match match, const struct rule *rule, const struct rule_question *q, struct problem *ret)
{
    if (q->stray)
        return refuse_rule("placeholder_stray",
                           "the request has a placeholder that no rule uses for this host, method and path", ret);
    switch (match) {
    case RULE_PLACEHOLDER:
        if (rule->others == OTHERS_REFUSE)
            return refuse_rule("placeholder_missing",
                               "the rules of this host need a placeholder, and the request has none of them", ret);
        break;
    case RULE_REFUSED:
        return refuse_rule("method_or_path_not_allowed", "rules name this host, but none allows this method and path",
                           ret);
    case RULE_ASIDE:
    case RULE_NONE:
        return q->deny_unmatched
               && refuse_rule("host_not_allowed", "no rule names this host, and unmatched is deny", ret);
    case RULE_FOUND: break;
    }
    if (!rule_overrides_allowed(rule, q->request))
        return refuse_rule("method_or_path_not_allowed",
                           "a header field or _method asks for a method or path that the rule does not allow", ret);
    return match == RULE_FOUND && inject_active(rule) && refuse_credential(rule, q, ret);
}
