/* app/config/config_chain.h: chained credentials: a secret that is another credential's token ({credential: NAME}).
 * Called by config_cross and config_load. */
#ifndef SIDEKEY_APP_CONFIG_CONFIG_CHAIN_H
#define SIDEKEY_APP_CONFIG_CONFIG_CHAIN_H

#include "app/config/config.h"

/* Reader of a secret that may be {credential: NAME} or {http: …}, and the JSON Schema of such a key.  Whether it exists
 * is judged later, by config_chain_check(). */
int config_chain_read_secret(struct schema *s, const struct field *f, const json_t *node, void *base);
#define CHAIN_JSON                                                                                                     \
    "{\"anyOf\":[{\"$ref\":\"#/$defs/secret\"},{\"type\":\"object\",\"additionalProperties\":false,"                   \
    "\"required\":[\"credential\"],\"properties\":{\"credential\":{\"type\":\"string\"}}},"                            \
    "{\"type\":\"object\",\"additionalProperties\":false,\"required\":[\"http\"],\"properties\":{\"http\":"            \
    "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{\"url\":{\"type\":\"string\"},"               \
    "\"url_env\":{\"type\":\"string\"},\"query\":{\"type\":\"string\"},\"pointer\":{\"type\":\"string\"},"             \
    "\"bearer\":{\"$ref\":\"#/$defs/secret\"}}}}}]}"

/* Each names another credential that exists, and no chain comes back to where it began.  node: the root.  Returns 0;
 * -1, reported. */
int config_chain_check(struct schema *s, const json_t *node, const struct config *c);
/* Another credential is made of the token of this one. */
bool config_chain_has_child(const struct config *c, const struct credential_spec *parent);

#endif
