/* app/config/config_values.h: what single values of the configuration may be.   Pure.
 * All take a heap string that they may normalise or replace, and return NULL, or what is wrong and how to write it:
 * constant text that never repeats the value. */
#ifndef SIDEKEY_APP_CONFIG_CONFIG_VALUES_H
#define SIDEKEY_APP_CONFIG_CONFIG_VALUES_H

/* [a-z0-9._-]{1,64}: a credential's name, which is its identity in the store. */
const char *config_value_credential(char **io_text);
/* What a program sends in place of a token: 4 to WHEN_VALUE_MAX bytes that a field can hold. */
const char *config_value_placeholder(char **io_text);
/* [a-z0-9._-]{1,64}: a client's name, the user of its proxy URL. */
const char *config_value_client(char **io_text);
/* [A-Za-z0-9._*:-]{1,64}: a rule's name, a metric label. */
const char *config_value_label(char **io_text);
/* A host or "*.suffix", normalised as every authority is. */
const char *config_value_host(char **io_text);
/* "/path" or "/prefix*", or "*". */
const char *config_value_path(char **io_text);
/* An HTTP method, upper case. */
const char *config_value_method(char **io_text);
/* A protocol of an Upgrade, name or name/version; lower-cased. */
const char *config_value_upgrade(char **io_text);
/* A field name that a rule may set; lower-cased. */
const char *config_value_field(char **io_text);
/* A query key: anything but what ends one. */
const char *config_value_query_key(char **io_text);
/* "Bearer {access_token}": braces around names, at least one, no control bytes. */
const char *config_value_format(char **io_text);
/* A JSON pointer (RFC 6901). */
const char *config_value_pointer(char **io_text);
/* Text that may stand in a field value (RFC 9110 §5.5) or a form. */
const char *config_value_text(char **io_text);
/* http or https with a host, without a user. */
const char *config_value_url(char **io_text);
/* Where a Redis server is (refresh/redis/redis_url.h), without a password. */
const char *config_value_redis_url(char **io_text);
/* "host[:port]" of a sentinel. */
const char *config_value_redis_node(char **io_text);
/* A user's or a primary's name: text without spaces and control bytes. */
const char *config_value_redis_word(char **io_text);
/* A token endpoint: https, or http on loopback. */
const char *config_value_token_url(char **io_text);
/* A parameter of the token request that has no key of its own. */
const char *config_value_param(char **io_text);
/* Where a browser brings the code: http on loopback, without a query. */
const char *config_value_redirect_url(char **io_text);
/* A parameter of the authorization request that is not sidekey's own. */
const char *config_value_login_param(char **io_text);
/* A claim of an assertion that has no key of its own. */
const char *config_value_claim(char **io_text);
/* A field of the token request that is not sidekey's own; lower-cased. */
const char *config_value_request_field(char **io_text);
/* Decimal digits. */
const char *config_value_number_id(char **io_text);

#endif
