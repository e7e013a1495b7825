#include "refresh/redis/redis_url.h"

#define DB_MAX 16383

static bool take_prefix(struct slice *text, const char *prefix)
{
    size_t n = strlen(prefix);
    if (text->len < n || !slice_ieq(slice_of(text->ptr, n), slice_str(prefix)))
        return false;
    *text = slice_skip(*text, n);
    return true;
}

static const char *parse_db(struct slice text, struct redis_url *to)
{
    uint64_t db = 0;
    if (text.len && slice_u64(text, DB_MAX, &db) != 0)
        return "the database must be a number: redis://host:6379/0";
    to->db = (unsigned)db;
    return NULL;
}

static const char *parse_unix(struct slice text, struct redis_url *to)
{
    struct slice query, path = slice_cut(text, '?', &query);
    if (path.len == 0 || path.ptr[0] != '/')
        return "the path of a socket must begin with /: unix:///run/redis/redis.sock";
    if (path.len > REDIS_PATH_MAX)
        return "the path is too long for a unix socket";
    memcpy(to->path, path.ptr, path.len);
    if (query.len && !take_prefix(&query, "db="))
        return "only ?db=NUMBER is allowed after the path of a socket";
    return parse_db(query, to);
}

static const char *parse_host(struct slice text, struct redis_url *to)
{
    struct slice db, rest, host = slice_cut(text, '/', &db), user = slice_cut(host, '@', &rest);
    if (rest.ptr) {
        if (slice_find(user, ':') < user.len)
            return "contains a password: remove it and set store.redis.password";
        to->username = user;
        host = rest;
    }
    if (authority_parse(host, SCHEME_HTTP, REDIS_PORT, &to->at) != 0)
        return "has no host: write redis://host:6379 or rediss://host:6379";
    return parse_db(db, to);
}

const char *redis_url_parse(struct slice text, struct redis_url *ret)
{
    struct redis_url to = { .tls = false };
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.ptr[i] <= ' ' || text.ptr[i] == 0x7f || text.ptr[i] == '#')
            return "contains a space, a control byte or #";
    const char *wrong;
    if (take_prefix(&text, "unix://"))
        wrong = parse_unix(text, &to);
    else if ((to.tls = take_prefix(&text, "rediss://")) || take_prefix(&text, "redis://"))
        wrong = parse_host(text, &to);
    else
        return "is not a Redis URL: write redis://host:6379/0, rediss://host:6379/0 (TLS) or unix:///path";
    if (!wrong)
        *ret = to;
    return wrong;
}

const char *redis_url_parse_node(struct slice text, struct authority *ret)
{
    return authority_parse(text, SCHEME_HTTP, REDIS_SENTINEL_PORT, ret) == 0
               ? NULL
               : "is not a sentinel: write host or host:port";
}
