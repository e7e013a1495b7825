/* refresh/redis/redis_url.h: where a Redis server is, as an operator writes it.   Pure.
 * https://www.iana.org/assignments/uri-schemes/prov/redis */
#ifndef SIDEKEY_REFRESH_REDIS_REDIS_URL_H
#define SIDEKEY_REFRESH_REDIS_REDIS_URL_H

#include "http/authority.h"

#define REDIS_PATH_MAX 107 /* of a unix socket: sun_path without its NUL */
#define REDIS_PORT 6379
#define REDIS_SENTINEL_PORT 26379

struct redis_url {
    bool tls;                      /* rediss:// */
    char path[REDIS_PATH_MAX + 1]; /* unix://; "": at */
    struct authority at;
    struct slice username; /* inside text; empty: none */
    unsigned db;
};

/* redis://[user@]host[:port][/db], rediss://… the same, unix:///path[?db=n].  NULL, or what is wrong and how to write
 * it (constant text). */
const char *redis_url_parse(struct slice text, struct redis_url *ret);
/* "host:port" of a sentinel. NULL, or what is wrong. */
const char *redis_url_parse_node(struct slice text, struct authority *ret);

#endif
