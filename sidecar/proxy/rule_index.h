/* proxy/rule_index.h: the rules of one list by host and port, so that a request is compared only with the rules of its
 * host. Pure. Owner  rule_index_new()'s caller; the rules are borrowed and must not move. */
#ifndef SIDEKEY_PROXY_RULE_INDEX_H
#define SIDEKEY_PROXY_RULE_INDEX_H

#include "proxy/rule.h"

struct rule_index;

/* Rules of one host pattern and port, in the order of the list. */
struct rule_group {
    const struct rule **rules;
    size_t count;
};

/* NULL when out of memory. */
MUST_CHECK struct rule_index *rule_index_new(const struct rule *rules, size_t count);
/* Accepts NULL. */
void rule_index_free(struct rule_index *i);
/* The rules that name exactly this host, and those whose wildcard covers it; an empty group when there are none. */
struct rule_group rule_index_exact(const struct rule_index *i, const struct authority *a0);
struct rule_group rule_index_wildcard(const struct rule_index *i, const struct authority *a0);
/* The winner over the whole list.  Precedence: exact host > wildcard > answer > placeholder (when) > longest literal
 * path > order.  The query of the target counts for placeholders only.  A path that servers may read in several ways
 * (proxy/rule_path.h) matches only patterns that match all paths.  *ret is also set with RULE_PLACEHOLDER: the rule
 * that would win if its placeholder did not count; and with RULE_ASIDE: the first rule of the host. */
enum rule_match rule_index_find(const struct rule_index *i, const struct authority *a0, const struct message *request,
                                const struct rule **ret);
/* Does the request carry a placeholder of the list that is not the one which chose winner (NULL: no rule was chosen)?
 * Such a request must not go on: no server but sidekey knows what it stands for. */
bool rule_index_stray_placeholder(const struct rule_index *i, const struct rule *winner, const struct message *request);
/* The same for one text of a body. */
bool rule_index_stray_text(const struct rule_index *i, struct slice text);
/* The rules that answer (rules[].answer) this host, port, method and path: as many as there are, at most `most` of them
 * in ret. */
size_t rule_index_answering(const struct rule_index *i, const struct authority *a0, const struct message *request,
                            const struct rule **ret, size_t most);
/* The first rule of the list that knows this host and port; NULL: none. */
const struct rule *rule_index_first(const struct rule_index *i, const struct authority *a0);
/* Does any rule of this host and port name a credential? */
bool rule_index_has_credential(const struct rule_index *i, const struct authority *a0);

#endif
