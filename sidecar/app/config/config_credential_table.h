/* app/config/config_credential_table.h: the keys of credentials.NAME (app/config/config_table.h). */
#ifndef SIDEKEY_APP_CONFIG_CONFIG_CREDENTIAL_TABLE_H
#define SIDEKEY_APP_CONFIG_CONFIG_CREDENTIAL_TABLE_H

#include "app/config/field.h"

/* Fills a struct credential_spec. */
extern const struct table config_credential_table;
/* The words of the keys `placeholder`. */
extern const char *const config_placeholder_words[];

#endif
