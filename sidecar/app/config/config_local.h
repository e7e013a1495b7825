/* app/config/config_local.h: values of listen.socket and clients.NAME.uids, and what they need of each other.   Called
 * by the walker. Users and groups are looked up here, once. When the file is for another machine (schema files NONE),
 * an unknown name is not an error. */
#ifndef SIDEKEY_APP_CONFIG_CONFIG_LOCAL_H
#define SIDEKEY_APP_CONFIG_CONFIG_LOCAL_H

#include "app/config/config.h"

/* Each as field.check (app/config/field.h). */
const char *config_local_path(char **io_text);
const char *config_local_admin_path(char **io_text); /* or "off" */
const char *config_local_mode(char **io_text);
const char *config_local_group(char **io_text);
int config_local_read_uids(struct schema *s, const struct field *f, const json_t *node, void *client);
/* A client has a way in, and no uid of another one.  0; -1, reported. */
int config_local_check_client(struct schema *s, const json_t *node, const struct client_spec *client);
/* The whole file: somewhere to listen, and nothing about a socket that is not there.  Looks up the group. */
int config_local_check(struct schema *s, const json_t *node, struct config *c);
/* What is allowed and probably not meant. */
void config_local_warn(struct schema *s, const json_t *root, const struct config *c);

#endif
