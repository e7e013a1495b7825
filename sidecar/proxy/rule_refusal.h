/* proxy/rule_refusal.h: the reason why the rules refuse a request, for the exchange and for "sidekey why" (docs/http.md
 * §3, §4). Pure. */
#ifndef SIDEKEY_PROXY_RULE_REFUSAL_H
#define SIDEKEY_PROXY_RULE_REFUSAL_H

#include "proxy/problem.h"
#include "proxy/rule.h"

struct rule_question {
    const struct authority *a0;
    const struct message *request;
    bool stray;          /* it carries a placeholder of another rule: rule_index_stray_placeholder() */
    bool deny_unmatched; /* unmatched: deny */
};

/* match and rule: what rule_index_find() has found.  true: the request is refused, and *ret says why: status, error,
 * reason, detail, hint, credential; static text, or the rule's.  Judges the placeholder and the match first, then what
 * stands for method or path in a field, then what a credential demands. */
bool rule_refusal(enum rule_match match, const struct rule *rule, const struct rule_question *q, struct problem *ret);

#endif
