/* app/config/config_network.h: values of network.parent_proxy and network.no_proxy, and what they need of each other.
 * Called by the walker. */
#ifndef SIDEKEY_APP_CONFIG_CONFIG_NETWORK_H
#define SIDEKEY_APP_CONFIG_CONFIG_NETWORK_H

#include "app/config/config.h"

/* Each as field.check (app/config/field.h). */
const char *config_network_parent_url(char **io_text);
const char *config_network_parent_username(char **io_text);
const char *config_network_bypass(char **io_text);
/* The object parent_proxy as a whole.  0; -1, reported. */
int config_network_check_parent(struct schema *s, const json_t *node, void *config);

#endif
