/* app/config/config_slips.h: what the grammar allows and nobody means: each has a message of its own.   Called by the
 * walker. */
#ifndef SIDEKEY_APP_CONFIG_CONFIG_SLIPS_H
#define SIDEKEY_APP_CONFIG_CONFIG_SLIPS_H

#include "app/config/config.h"

/* "10.1.2.3/8": more bits than the prefix has; network: what it means. */
void config_slips_network(struct schema *s, const json_t *node, const char *text, const struct address *network);
/* SIDEKEY_… variables that no key has. */
void config_slips_variables(struct schema *s, const struct table *t);
/* The limits need more than the kernel gives. */
void config_slips_memory(struct schema *s, const struct config *c);
/* Limits that nobody has set follow the memory limit, or are 64 MiB and 10,000. */
void config_slips_fill_limits(struct config *c);

#endif
