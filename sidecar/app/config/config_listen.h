/* app/config/config_listen.h: the keys of `listen` and `gateway`.   Pure data. */
#ifndef SIDEKEY_APP_CONFIG_CONFIG_LISTEN_H
#define SIDEKEY_APP_CONFIG_CONFIG_LISTEN_H

#include "app/config/field.h"

extern const struct table config_listen_table, config_listen_gateway_table;

#endif
