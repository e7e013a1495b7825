/* app/config/config_when.h: rules[].when, the placeholder that chooses a rule (proxy/when.h), and what belongs to it.
 * Called by the walker through config_table. */
#ifndef SIDEKEY_APP_CONFIG_CONFIG_WHEN_H
#define SIDEKEY_APP_CONFIG_CONFIG_WHEN_H

#include "app/config/schema.h"
#include "proxy/rule.h"

/* The keys of `when`, in a struct rule. */
extern const struct table config_when_table;
/* One place, a placeholder, no contradiction to only_if and others.
 * Returns 0; -1, reported. */
int config_when_check(struct schema *s, const json_t *node, const struct rule *r);

#endif
