#include "refresh/redis/redis_wire.h"

#include <errno.h>
#include <stdlib.h>

#define ELEMENTS_MAX 64
#define DEPTH_MAX 4

struct redis_reader {
    redisReader *reader;
    redisReplyObjectFunctions functions;
    size_t taken; /* bytes since the last whole reply: at least as many as the next one has */
};

int redis_wire_add(struct buf *out, const struct slice *argv, size_t argc)
{
    const char *texts[REDIS_ARGS_MAX];
    size_t lens[REDIS_ARGS_MAX];
    char *bytes = NULL;
    if (argc > REDIS_ARGS_MAX)
        return -E2BIG;
    for (size_t i = 0; i < argc; i++) {
        texts[i] = argv[i].ptr ? argv[i].ptr : "";
        lens[i] = argv[i].len;
    }
    long long len = redisFormatCommandArgv(&bytes, (int)argc, texts, lens);
    if (len < 0)
        return -ENOMEM;
    int failed = buf_add(out, slice_of(bytes, (size_t)len));
    explicit_bzero(bytes, (size_t)len); /* it may have been AUTH */
    redisFreeCommand(bytes);
    return failed;
}

/* ---- reading ---- */

/* An array's memory is asked for when its first line has come: no server may choose how much.  NULL ends the reader. */
static bool is_modest(const redisReadTask *task, size_t count)
{
    int depth = 0;
    for (const redisReadTask *above = task->parent; above; above = above->parent)
        depth++; /* hiredis 1 nests without a limit, and frees by recursion */
    return count <= ELEMENTS_MAX && depth < DEPTH_MAX;
}

#if HIREDIS_MAJOR >= 1
static void *create_array(const redisReadTask *task, size_t count)
{
    struct redis_reader *r = task->privdata;
    return is_modest(task, (size_t)count) ? r->functions.createArray(task, count) : NULL;
}
#else
static void *create_array(const redisReadTask *task, int count)
{
    struct redis_reader *r = task->privdata;
    return is_modest(task, (size_t)count) ? r->functions.createArray(task, count) : NULL;
}
#endif

struct redis_reader *redis_wire_new(void)
{
    static redisReplyObjectFunctions ours; /* the library's own, but for arrays */
    struct redis_reader *r = calloc(1, sizeof *r);
    if (!r || !(r->reader = redisReaderCreate())) {
        free(r);
        return NULL;
    }
    r->functions = *r->reader->fn;
    ours = r->functions;
    ours.createArray = create_array;
    r->reader->fn = &ours;
    r->reader->privdata = r;
    r->reader->maxbuf = 64 * 1024;
    return r;
}

void redis_wire_free(struct redis_reader *r)
{
    if (!r)
        return;
    redisReaderFree(r->reader);
    free(r);
}

int redis_wire_feed(struct redis_reader *r, struct slice bytes, struct err *e)
{
    r->taken += bytes.len;
    if (r->taken > REDIS_REPLY_MAX)
        return err_set(e, "its reply is longer than %d bytes", REDIS_REPLY_MAX);
    return redisReaderFeed(r->reader, bytes.ptr, bytes.len) == REDIS_OK ? 0 : err_set(e, "out of memory");
}

int redis_wire_next(struct redis_reader *r, redisReply **ret, struct err *e)
{
    void *reply = NULL;
    if (redisReaderGetReply(r->reader, &reply) != REDIS_OK)
        return err_set(e, "its response is not the Redis protocol: check that Redis listens on this address");
    if (!reply)
        return 0;
    r->taken = r->reader->len - r->reader->pos;
    *ret = reply;
    return 1;
}

/* ---- looking ---- */

bool redis_wire_is(const redisReply *r, const char *code)
{
    size_t n = strlen(code);
    return r && r->type == REDIS_REPLY_ERROR && strncmp(r->str, code, n) == 0
           && (r->str[n] == ' ' || r->str[n] == '\0');
}

struct slice redis_wire_text(const redisReply *r)
{
    bool text = r && (r->type == REDIS_REPLY_STRING || r->type == REDIS_REPLY_STATUS);
    return text ? slice_of(r->str, (size_t)r->len) : SLICE("");
}

const redisReply *redis_wire_at(const redisReply *r, size_t i)
{
    return r && r->type == REDIS_REPLY_ARRAY && i < r->elements ? r->element[i] : NULL;
}

int redis_wire_u64(const redisReply *r, uint64_t *ret)
{
    if (r && r->type == REDIS_REPLY_INTEGER && r->integer >= 0) {
        *ret = (uint64_t)r->integer;
        return 0;
    }
    return slice_u64(redis_wire_text(r), INT64_MAX, ret) == 0 ? 0 : -EINVAL;
}

static const struct {
    const char *code, *meaning;
} errors[] = {
    { "WRONGPASS", "refuses the user name or the password: check store.redis.username and store.redis.password" },
    { "NOAUTH", "requires a password: set store.redis.password" },
    { "READONLY", "is a replica: set store.redis.url to the primary, or set store.redis.sentinel" },
    { "LOADING", "is still loading its data: wait until it has finished" },
    { "BUSY", "is busy with the script of another program: see SCRIPT KILL" },
    { "OOM", "has no memory left: raise its maxmemory, or let it evict other keys" },
    { "MISCONF", "refuses writes because it cannot save to its disk: see its log" },
    { "MASTERDOWN", "is a replica that has lost its primary" },
    { "NOREPLICAS", "has too few replicas in reach to take writes (min-replicas-to-write)" },
    { "CLUSTERDOWN", "is part of a cluster that is down: see CLUSTER INFO" },
    { "TRYAGAIN", "is moving the keys to another node just now" },
    { "CROSSSLOT", "finds the keys of one credential on two nodes: a proxy in front of it must support hash tags" },
    { "NOPROTO", "does not speak RESP2" },
    { "DENIED", "is in protected mode: give it a password (requirepass), and set store.redis.password" },
    { "WRONGTYPE", "has other data under a key of sidekey: another program uses the prefix {sidekey:" },
};

/* The name of a command in what ACLs say, "run the 'hset' command"; 0 bytes: none. */
static struct slice refused_command(const char *text)
{
    const char *name = strstr(text, "run the '");
    name = name ? name + 9 : "";
    size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyz|_-");
    return slice_of(name, len <= 32 && name[len] == '\'' ? len : 0);
}

/* What a user may not do; NULL: it is something else.  Inside a script it comes as ERR, in the words of Redis 6 and 7,
 * or of Redis 7.2 and Valkey. */
static const char *refused_by_acl(const redisReply *r)
{
    if (!r || r->type != REDIS_REPLY_ERROR)
        return NULL;
    if (!redis_wire_is(r, "NOPERM") && !strstr(r->str, "user executing the script can't")
        && !strstr(r->str, "ACL failure in script"))
        return NULL;
    if (strstr(r->str, "the keys"))
        return "use keys that begin with \"{sidekey:\"";
    if (strstr(r->str, "channel"))
        return "use channels that begin with \"{sidekey:\"";
    return strstr(r->str, "run this command") ? "run a command of sidekey's script" : "do that";
}

static int explain_acl(struct err *e, const char *server, const redisReply *r)
{
    struct slice command = refused_command(r->str);
    const char *way_out = "give the user the ACL in docs/configuration.md (store.redis) (NOPERM)";
    if (command.len)
        return err_set(e, "%s does not let this user run the command %.*s: %s", server, (int)command.len, command.ptr,
                       way_out);
    return err_set(e, "%s does not let this user %s: %s", server, refused_by_acl(r), way_out);
}

int redis_wire_explain(struct err *e, const char *server, const redisReply *r)
{
    if (refused_by_acl(r))
        return explain_acl(e, server, r);
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (redis_wire_is(r, errors[i].code))
            return err_set(e, "%s %s (%s)", server, errors[i].meaning, errors[i].code);
    if (!r || r->type != REDIS_REPLY_ERROR)
        return err_set(e, "%s gives a response that sidekey does not understand", server);
    size_t code = strspn(r->str, "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
    if (strncmp(r->str, "ERR max number of clients", 25) == 0)
        return err_set(e, "%s has no connection left (maxclients)", server);
    if (strncmp(r->str, "ERR unknown command", 19) == 0)
        return err_set(
            e, "%s does not support a command that sidekey needs (Redis 4 or newer, or Valkey; EVAL allowed)", server);
    return err_set(e, "%s answers with an error (%.*s)", server, code < 20 ? (int)code : 20, r->str);
}

#define TEXT(number) #number
#define VERSION(major, minor, patch) TEXT(major) "." TEXT(minor) "." TEXT(patch)

const char *redis_wire_library(void)
{
    return VERSION(HIREDIS_MAJOR, HIREDIS_MINOR, HIREDIS_PATCH);
}
