/* app/config/config_unauthorized.h: the keys of rules[].on_unauthorized.   Any process. */
#ifndef SIDEKEY_APP_CONFIG_CONFIG_UNAUTHORIZED_H
#define SIDEKEY_APP_CONFIG_CONFIG_UNAUTHORIZED_H

#include "app/config/field.h"

/* Fills a struct rule. */
extern const struct table config_unauthorized;

#endif
