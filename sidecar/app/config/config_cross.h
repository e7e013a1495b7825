/* app/config/config_cross.h: what no single value can say: keys that need, forbid or imply each other, and readers of
 * compound values. Called by the walker through config_table; s->root is the struct config. */
#ifndef SIDEKEY_APP_CONFIG_CONFIG_CROSS_H
#define SIDEKEY_APP_CONFIG_CONFIG_CROSS_H

#include "app/config/config.h"
#include "app/config/schema.h"

/* The defaults of one rule that are not zero. */
void config_cross_init_rule(void *rule);
/* Each: 0; -1, reported.  Fill what follows from other keys. */
int config_cross_check_inject(struct schema *s, const json_t *node, void *item);
int config_cross_check_mark(struct schema *s, const json_t *node, void *mark);
int config_cross_check_rule(struct schema *s, const json_t *node, void *rule);
int config_cross_check_client(struct schema *s, const json_t *node, void *client);
int config_cross_check_config(struct schema *s, const json_t *node, void *config);
/* cert_file and key_file are both there or both not. */
int config_cross_check_pair(struct schema *s, const json_t *node, const char *cert, const char *key);
int config_cross_read_statuses(struct schema *s, const struct field *f, const json_t *node, void *rule);
/* … of gRPC: rule.grpc_unauthorized. */
int config_cross_read_grpc_statuses(struct schema *s, const struct field *f, const json_t *node, void *rule);
int config_cross_read_ports(struct schema *s, const struct field *f, const json_t *node, void *config);
int config_cross_read_networks(struct schema *s, const struct field *f, const json_t *node, void *config);
int config_cross_read_resolve(struct schema *s, const struct field *f, const json_t *node, void *config);

#endif
