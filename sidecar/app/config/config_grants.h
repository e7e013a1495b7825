/* app/config/config_grants.h: which keys of a credential belong to which grant, and what follows from them.   Called by
 * the walker through config_table. */
#ifndef SIDEKEY_APP_CONFIG_CONFIG_GRANTS_H
#define SIDEKEY_APP_CONFIG_CONFIG_GRANTS_H

#include "app/config/schema.h"

/* The defaults of one credential that are not zero. */
void config_grants_init_spec(void *spec);
/* 0; -1, reported.  Fills token_url and client_auth where they follow from other keys. */
int config_grants_check_spec(struct schema *s, const json_t *node, void *spec);

/* credentials.NAME.login.  0; -1, reported. */
int config_grants_check_login(struct schema *s, const json_t *node, void *spec);

/* credentials.NAME.token: a secret, or the word for a member of the response. */
int config_grants_read_token(struct schema *s, const struct field *f, const json_t *node, void *spec);

#endif
