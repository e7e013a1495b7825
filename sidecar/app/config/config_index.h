/* app/config/config_index.h: what a configuration has named so far, while it is loaded. A rule is looked up and not
 * compared with each rule before it: 10,000 rules load in linear time.
 * Owner  config_index_new()'s caller, through config_index_free(); names and rules are borrowed from the configuration.
 */
#ifndef SIDEKEY_APP_CONFIG_CONFIG_INDEX_H
#define SIDEKEY_APP_CONFIG_CONFIG_INDEX_H

#include "proxy/rule.h"
#include "refresh/credential_spec.h"

struct config_index;

/* NULL when out of memory. */
MUST_CHECK struct config_index *config_index_new(void);
/* Accepts NULL. */
void config_index_free(struct config_index *x);
/* Is there a credential of that name in the list?  The list only grows from call to call.  1: yes; 0; -ENOMEM. */
MUST_CHECK int config_index_credential(struct config_index *x, const struct credential_spec *list, size_t count,
                                       const char *name);
/* The rule of that name; of several, the first whose name is not just its host; NULL: there is none. */
const struct rule *config_index_rule(const struct config_index *x, const char *name);
/* name and host of r are set.  0; -ENOMEM. */
MUST_CHECK int config_index_add_rule(struct config_index *x, const struct rule *r);
/* *ret: the first rule of those added before that takes every request that r could take (host, port, placeholder,
 * paths, methods), so that r never applies; NULL: none.  Adds r; host is set.  0; -ENOMEM. */
MUST_CHECK int config_index_add_requests(struct config_index *x, const struct rule *r, const struct rule **ret);
/* *ret: the first rule with the host and port of r; r itself: it is the first.  Host is set.  0; -ENOMEM. */
MUST_CHECK int config_index_add_host(struct config_index *x, const struct rule *r, const struct rule **ret);

#endif
