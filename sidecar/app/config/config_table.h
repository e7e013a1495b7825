/* app/config/config_table.h: the keys of the configuration, their types, limits, defaults and one sentence each. */
#ifndef SIDEKEY_APP_CONFIG_CONFIG_TABLE_H
#define SIDEKEY_APP_CONFIG_CONFIG_TABLE_H

#include "app/config/field.h"

/* Fills a struct config; FIELD_ENV marks what --set and SIDEKEY_* may give. */
extern const struct table config_table;

#endif
